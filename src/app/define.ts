import { OutboxError } from '../errors.ts';
import { eventType, knownOnly, version as checkVersion } from './fields.ts';
import { kindOf, Problems } from './problems.ts';
import type { SchemaInput, SchemaOutput, StandardSchema } from './standard-schema.ts';

/**
 * An event holds its definition under this key. A spread copies it. The key is the same in two copies of this package: a
 * bundler may include the package twice, and events must be validated in that case too.
 */
export const DEFINITION: unique symbol = Symbol.for('pg-outbox-clickhouse.definition') as never;

/** The rules for the events of one type and version. */
export interface Definition {
  readonly type: string;
  readonly version: number | bigint;
  readonly schema: StandardSchema | undefined;
  readonly subject: ((context: never) => unknown) | undefined;
}

/**
 * What happened, as plain data: a JSON object. TypeScript and `emitEvent` reject arrays, Maps and Sets.
 *
 * It is written as JSON.stringify writes it: a Date as ISO 8601, a value with a toJSON as that gives it, without undefined
 * properties. `emitEvent` rejects what JSON.stringify would lose silently or cannot write: NaN, the infinities, bigint,
 * functions, symbols, an invalid Date, cycles, more than 100 levels, and class instances without a toJSON (also Error,
 * RegExp and typed arrays).
 */
export type EventContext = (object | Record<string, unknown>) & { readonly [Symbol.iterator]?: never };

/** The optional fields of an event, besides its type, version and context. */
export interface EventOptions {
  /** A UUID of any version, 8-4-4-4-12. Default: a new UUIDv7. Nothing checks that it is unique: one id twice is two events. */
  readonly id?: string | undefined;
  /** When it happened, from 1900 to 2299, to the millisecond. Default: now, by this process's clock. */
  readonly time?: Date | undefined;
  /** Where it happened: 65,535 bytes of UTF-8 at most, no NUL. Default: that of the outbox, else OUTBOX_ENVIRONMENT, else ''. */
  readonly environment?: string | undefined;
  /**
   * Who or what it is about: `order/7`, `user/4711`. 65,535 bytes of UTF-8 at most, no NUL. Default: what the definition's
   * `subject` makes of the context, else ''. https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#subject
   */
  readonly subject?: string | undefined;
}

/** An event made by a definition. Its context is the schema's input, and is validated when the event is emitted. */
export interface DefinedEvent<
  Type extends string = string,
  Context = unknown,
  Version extends number | bigint = number | bigint,
> extends EventOptions {
  readonly type: Type;
  readonly context: Context;
  readonly metadataVersion: Version;
  readonly [DEFINITION]: Definition;
}

/** Makes events of one type and version. */
export interface EventDefinition<
  Type extends string = string,
  Context = unknown,
  Version extends number | bigint = number | bigint,
> {
  (context: Context, options?: EventOptions): DefinedEvent<Type, Context, Version>;
  readonly type: Type;
  readonly version: Version;
  readonly [DEFINITION]: Definition;
}

/** Any definition, whatever its context. */
export interface AnyEventDefinition {
  (context: never, options?: EventOptions): DefinedEvent;
  readonly type: string;
  readonly version: number | bigint;
  readonly [DEFINITION]: Definition;
}

/** Types that JSON loses or cannot write. */
type Lost =
  | bigint
  | symbol
  | ((...args: never) => unknown)
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | WeakMap<WeakKey, unknown>
  | WeakSet<WeakKey>
  | PromiseLike<unknown>
  | RegExp
  | ArrayBufferLike
  | ArrayBufferView;

/** T with `never` in the place of every part that cannot be stored. T extends it only if all of T can be stored. */
type Kept<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null | undefined | { toJSON(key: string): unknown }
    ? T
    : T extends Lost
      ? never
      : T extends object
        ? { [Key in keyof T]: Kept<T[Key]> }
        : T;

type Storable<T, Then, Otherwise> = [T] extends [EventContext & Kept<T>] ? Then : Otherwise;

/** A parameter of such a type makes TypeScript report an error that names the reason. */
interface OutputIsNotStorable {
  readonly "the schema's output is no JSON object, or holds what JSON would lose": never;
}
type ContextIsNotStorable = 'the context holds what JSON would lose';

/**
 * Defines an event by types alone: `defineEvent<{ userId: string }>('user.signed_up')`. TypeScript checks its context; at run
 * time it is checked as any context is.
 *
 * When you give one type argument, TypeScript infers none of the others. If a registry should know the event's name and
 * version at compile time, give all three:
 * `defineEvent<{ userId: string }, 'user.signed_up', 2>('user.signed_up', { version: 2 })`.
 *
 * @throws OutboxError OUTBOX_DEFINITION_INVALID, with every problem
 */
export function defineEvent<
  Context extends EventContext,
  const Type extends string = string,
  const Version extends number | bigint = number,
>(
  type: Storable<Context, Type, ContextIsNotStorable>,
  options?: {
    readonly version?: Version;
    readonly subject?: (context: Context) => string | undefined;
    readonly schema?: never;
  },
): EventDefinition<Type, Context, Version>;
/**
 * Defines an event by a schema: any synchronous validator of https://standardschema.dev (zod, valibot, arktype …).
 *
 * The context of an event has the schema's input type. It is validated when the event is emitted, before any SQL. The
 * schema's output, with its defaults and transforms, is what is stored. `emitEvent` rejects an event whose schema answers
 * with a promise: OUTBOX_EVENT_INVALID.
 *
 * @param type as an event's `type`
 * @param options `version`: as an event's `metadataVersion`, 1 by default. `subject`: makes the subject of an event that has
 *   none of its own, from the schema's output
 * @returns a function that makes events: `orderPlaced({ orderId }, { time })`
 * @throws OutboxError OUTBOX_DEFINITION_INVALID, with every problem
 */
export function defineEvent<
  const Type extends string,
  Schema extends StandardSchema,
  const Version extends number | bigint = 1,
>(
  type: Type,
  options: {
    readonly schema: Schema & Storable<SchemaOutput<Schema>, unknown, OutputIsNotStorable>;
    readonly version?: Version;
    readonly subject?: (context: SchemaOutput<Schema>) => string | undefined;
  },
): EventDefinition<Type, SchemaInput<Schema>, Version>;
export function defineEvent(
  type: string,
  options: {
    readonly schema?: StandardSchema;
    readonly version?: number | bigint;
    readonly subject?: (context: never) => string | undefined;
  } = {},
): EventDefinition {
  const problems = new Problems();
  const definition = checked(type, options, problems);
  if (problems.count > 0) throw new OutboxError('OUTBOX_DEFINITION_INVALID', { problems: problems.list() });
  // The options come last. If they hold a field that they must not hold, the check of the event finds it.
  const make = (context: unknown, more?: EventOptions): DefinedEvent => ({
    type: definition.type,
    context,
    metadataVersion: definition.version,
    ...more,
    [DEFINITION]: definition,
  });
  const { type: name, version } = definition;
  return Object.freeze(Object.assign(make, { type: name, version, [DEFINITION]: definition }));
}

function checked(type: unknown, options: unknown, problems: Problems): Definition {
  if (typeof options !== 'object' || options === null) {
    problems.add('options', `is ${kindOf(options)}, not an object`);
    return checked(type, {}, problems);
  }
  const {
    schema,
    version = 1,
    subject,
  } = options as { readonly schema?: unknown; readonly version?: unknown; readonly subject?: unknown };
  const definition = {
    type: eventType(type, 'type', problems),
    version: checkVersion(version, 'version', problems),
    schema: schema as StandardSchema | undefined,
    subject: subject as Definition['subject'],
  };
  if (schema !== undefined && !isStandardSchema(schema))
    problems.add('schema', `is ${kindOf(schema)}, not a validator of https://standardschema.dev, version 1`);
  if (subject !== undefined && typeof subject !== 'function')
    problems.add('subject', `is ${kindOf(subject)}, not a function of the context`);
  knownOnly(options, 'options', ['schema', 'version', 'subject'], 'defineEvent', problems);
  return Object.freeze(definition);
}

/** Some validators are functions. */
function isStandardSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false;
  const props: unknown = Reflect.get(value, '~standard');
  if (typeof props !== 'object' || props === null) return false;
  return Reflect.get(props, 'version') === 1 && typeof Reflect.get(props, 'validate') === 'function';
}
