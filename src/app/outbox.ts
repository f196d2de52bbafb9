import { OutboxError } from '../errors.ts';
import { SCHEMA_FORM, SCHEMA_PATTERN } from '../schema-name.ts';
import { serialiseContext } from './context.ts';
import { type AnyEventDefinition, DEFINITION, type Definition, type EventContext } from './define.ts';
import { emitMany, emitOne, type Rules } from './emit.ts';
import type { AnyEvent } from './events.ts';
import { knownOnly, text } from './fields.ts';
import { isPromise, kindOf, pathOf, Problems } from './problems.ts';
import { parseRedactPath, type RedactPath } from './redact.ts';
import type { Transaction } from './transaction.ts';

/** The options of `createOutbox`. */
export interface OutboxOptions<Events extends readonly AnyEventDefinition[] = readonly AnyEventDefinition[]> {
  /** The schema of its tables, where a database has several outboxes. Default: OUTBOX_SCHEMA, else `outbox`. */
  readonly schema?: string | undefined;
  /** The environment of events that have none of their own. Default: OUTBOX_ENVIRONMENT, else ''. */
  readonly environment?: string | undefined;
  /**
   * Gives defaults for the context of every event, or undefined for none. It runs once a call, after the transaction is known
   * to be open. The defaults are merged after validation, property by property at the top level. A property of the event wins,
   * unless it is undefined. When this function throws, the call rejects with the same error.
   */
  readonly context?: (() => (EventContext & { readonly then?: never }) | undefined) | undefined;
  /** The only definitions whose events are accepted, both by TypeScript and at run time. Default: any event. */
  readonly events?: Events | undefined;
  /**
   * Paths of the values that become `"[redacted]"` in the row, also in defaults: `email`, `payment.card`, `items[*].note`,
   * `["odd key"]`. `[*]` is every item of an array, or every value of an object.
   */
  readonly redact?: readonly string[] | undefined;
}

/** `emitEvent` and `emitEvents` with the options of `createOutbox`. They need no `this`. */
export interface Outbox<Event extends AnyEvent = AnyEvent> {
  /** As the plain `emitEvent`; see there. */
  readonly emitEvent: (tx: Transaction, event: Event) => Promise<string>;
  /** As the plain `emitEvents`; see there. */
  readonly emitEvents: (tx: Transaction, events: readonly Event[]) => Promise<string[]>;
}

const OPTIONS = ['schema', 'environment', 'context', 'events', 'redact'] as const satisfies (keyof OutboxOptions)[];

/**
 * Makes an outbox with a schema, an environment, defaults, a registry and redaction. It holds nothing else: no connection, no state.
 *
 * @throws OutboxError OUTBOX_DEFINITION_INVALID, with every problem: also for two definitions of one type and version
 */
export function createOutbox<const Events extends readonly AnyEventDefinition[] = never>(
  options: OutboxOptions<Events> = {},
): Outbox<[Events] extends [never] ? AnyEvent : ReturnType<Events[number]>> {
  const problems = new Problems();
  const rules = rulesOf(options, problems);
  if (problems.count > 0) throw new OutboxError('OUTBOX_DEFINITION_INVALID', { problems: problems.list() });
  return {
    emitEvent: async (tx, event) => emitOne(tx, event, rules),
    emitEvents: async (tx, events) => emitMany(tx, events, rules),
  };
}

function rulesOf(options: unknown, problems: Problems): Rules {
  if (typeof options !== 'object' || options === null) {
    problems.add('options', `is ${kindOf(options)}, not an object`);
    return rulesOf({}, problems);
  }
  knownOnly(options, 'options', OPTIONS, 'createOutbox', problems);
  const given = options as { readonly [Name in keyof OutboxOptions]?: unknown };
  const schema = schemaOf(given.schema, problems);
  const environment = given.environment === undefined ? undefined : text(given.environment, 'environment', problems);
  const own = { ...(schema !== undefined && { schema }), ...(environment !== undefined && { environment }) };
  const ask = given.context;
  if (ask !== undefined && typeof ask !== 'function') problems.add('context', `is ${kindOf(ask)}, not a function`);
  const accepted = given.events === undefined ? undefined : registryOf(given.events, problems);
  const redact = given.redact === undefined ? [] : pathsOf(given.redact, problems);

  return (settings) => ({
    settings: { ...settings, ...own },
    policy: { accepted, redact, defaults: defaultsOf(ask as (() => unknown) | undefined, settings.maxEventBytes) },
  });
}

function schemaOf(schema: unknown, problems: Problems): string | undefined {
  if (schema === undefined || (typeof schema === 'string' && SCHEMA_PATTERN.test(schema))) return schema;
  problems.add('schema', `is ${typeof schema === 'string' ? 'not' : `${kindOf(schema)}, not`} ${SCHEMA_FORM}`);
  return undefined;
}

/** The defaults as a copy in plain data: redaction writes into it. */
function defaultsOf(ask: (() => unknown) | undefined, maxBytes: number): Record<string, unknown> | undefined {
  const defaults = ask?.();
  if (defaults === undefined) return undefined;
  // It is refused below. Nobody waits for this promise, so its rejection must not end the process.
  if (isPromise(defaults)) Promise.resolve(defaults).catch(() => undefined);
  const problems = new Problems();
  const serialised = serialiseContext(defaults, 'defaults', maxBytes, problems);
  if (serialised === undefined) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
  return JSON.parse(serialised.text) as Record<string, unknown>;
}

function registryOf(events: unknown, problems: Problems): ReadonlySet<Definition> {
  const definitions = new Set<Definition>();
  if (!Array.isArray(events)) {
    problems.add('events', `is ${kindOf(events)}, not an array`);
    return definitions;
  }
  const names = new Map<string, number>();
  for (const [index, event] of (events as unknown[]).entries()) {
    const definition = typeof event === 'function' ? (event as Partial<AnyEventDefinition>)[DEFINITION] : undefined;
    if (typeof definition !== 'object' || definition === null) {
      problems.add(pathOf('events', index), `is ${kindOf(event)}, not a definition made by defineEvent`);
      continue;
    }
    const name = `${definition.version} ${definition.type}`;
    const first = names.get(name);
    if (first !== undefined)
      problems.add(pathOf('events', index), `defines the same type and version as ${pathOf('events', first)}`);
    names.set(name, first ?? index);
    definitions.add(definition);
  }
  return definitions;
}

function pathsOf(redact: unknown, problems: Problems): RedactPath[] {
  if (!Array.isArray(redact)) {
    problems.add('redact', `is ${kindOf(redact)}, not an array of paths`);
    return [];
  }
  const paths = (redact as unknown[]).map(parseRedactPath);
  for (const [index, path] of paths.entries())
    if (path === undefined)
      problems.add(
        pathOf('redact', index),
        'is no path such as email, payment.card, items[*].note or ["odd key"]; [*] stands for any index',
      );
  return paths.filter((path) => path !== undefined);
}
