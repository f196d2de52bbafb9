import { OutboxError } from '../errors.ts';
import { type Amendments, serialiseContext } from './context.ts';
import { DEFINITION, type DefinedEvent, type Definition, type EventContext, type EventOptions } from './define.ts';
import { eventType, instant, knownOnly, text, uuid, version } from './fields.ts';
import { kindOf, pathOf, Problems } from './problems.ts';
import type { Settings } from './settings.ts';
import { fitOneInsert } from './statement.ts';
import { uuidv7 } from './uuid.ts';
import { validated } from './validate.ts';

/** An event, as given to `emitEvent`. Fields that are not listed here are refused, so that a typo is not lost. */
export interface OutboxEvent extends EventOptions {
  /** What kind of event: not empty, 65,535 bytes of UTF-8 at most, no NUL. By convention `noun.verb`: `order.placed`. */
  readonly type: string;
  /** What happened. Its JSON text may have OUTBOX_MAX_EVENT_BYTES at most (UTF-8 bytes; 16 MiB by default). */
  readonly context: EventContext;
  /** The version of this type's context: a whole number from 0 to 2,147,483,647. Default: 1. */
  readonly metadataVersion?: number | undefined;
}

/** An event written by hand, or made by a definition. */
export type AnyEvent = OutboxEvent | DefinedEvent;

/** What an outbox asks of its events besides, and does to them. */
export interface Policy extends Amendments {
  /** The only definitions whose events are accepted. */
  readonly accepted?: ReadonlySet<Definition> | undefined;
}

/** An event that is known to be storable: every value in the form in which it is sent. */
export interface EventRow {
  /** Canonical, lower case: as Postgres will show it. */
  readonly id: string;
  readonly type: string;
  /** ISO 8601 in UTC, so that neither the client's nor the session's time zone matters. */
  readonly time: string;
  readonly environment: string;
  /** JSON text. */
  readonly context: string;
  readonly metadataVersion: number;
  /** The size of `context` in UTF-8. */
  readonly bytes: number;
}

const FIELDS = [
  'type',
  'context',
  'id',
  'time',
  'environment',
  'metadataVersion',
] as const satisfies (keyof OutboxEvent)[];

type Checked = EventRow | undefined;
type Serialised = ReturnType<typeof serialiseContext>;

/**
 * Checks one event and gives its row: at once, or by a promise where its validator gives one. All of the event is read at
 * once in any case.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with every problem as `event.<path>: <fault>`
 */
export function rowOf(event: AnyEvent, settings: Settings, policy: Policy = {}): EventRow | Promise<EventRow> {
  const problems = new Problems();
  const told = (row: Checked): EventRow => {
    if (row === undefined) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
    return row;
  };
  const row = check(event, 'event', settings, policy, problems);
  return row instanceof Promise ? row.then(told) : told(row);
}

/**
 * Checks all events and gives their rows, in their order, as `rowOf` does. Asynchronous validators run side by side.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with the problems of all events as `events[2].<path>: <fault>`; beyond 100
 *   the last one says how many more there are
 */
export function rowsOf(
  events: readonly AnyEvent[],
  settings: Settings,
  policy: Policy = {},
): EventRow[] | Promise<EventRow[]> {
  const problems = new Problems();
  const rows: (Checked | Promise<Checked>)[] = [];
  if (!Array.isArray(events)) problems.add('events', `is ${kindOf(events)}, not an array`);
  else {
    // By index, because forEach and map would step over a hole.
    for (let index = 0; index < events.length; index += 1)
      rows.push(check(events[index], pathOf('events', index), settings, policy, problems));
  }
  const told = (done: Checked[]): EventRow[] => {
    if (problems.count === 0 && !fitOneInsert(done as EventRow[]))
      problems.add('events', 'are larger than 64 MiB together: emit them by several calls');
    if (problems.count > 0) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
    return done as EventRow[];
  };
  const isPending = rows.some((row) => row instanceof Promise);
  return isPending ? Promise.all(rows.map(async (row) => row)).then(told) : told(rows as Checked[]);
}

function check(
  event: unknown,
  path: string,
  settings: Settings,
  policy: Policy,
  problems: Problems,
): Checked | Promise<Checked> {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) {
    problems.add(path, `is ${kindOf(event)}, not an event: an object with type and context`);
    return undefined;
  }
  const before = problems.count;
  const given = event as { readonly [Field in keyof OutboxEvent]?: unknown } & { readonly [DEFINITION]?: Definition };
  const definition = given[DEFINITION] ?? undefined;
  if (policy.accepted !== undefined && (definition === undefined || !policy.accepted.has(definition))) {
    problems.add(path, 'is not made by one of the definitions that this outbox was given as `events`');
    return undefined;
  }
  knownOnly(given, path, FIELDS, 'an event', problems);

  const type = eventType(given.type, `${path}.type`, problems);
  if (definition !== undefined) {
    if (type !== definition.type) problems.add(`${path}.type`, 'is not that of its definition');
    if (given.metadataVersion !== definition.version)
      problems.add(`${path}.metadataVersion`, 'is not that of its definition');
  }
  const context = contextOf(given.context, definition, `${path}.context`, settings, policy, problems);
  const id = given.id === undefined ? uuidv7() : uuid(given.id, `${path}.id`, problems);
  const time = given.time === undefined ? settings.now : instant(given.time, `${path}.time`, problems);
  const environment = text(given.environment ?? settings.environment, `${path}.environment`, problems);
  const metadataVersion = version(given.metadataVersion ?? 1, `${path}.metadataVersion`, problems);

  const isSound = problems.count === before;
  const row = (serialised: Serialised): Checked => {
    if (serialised === undefined || !isSound) return undefined;
    return { id, type, time, environment, context: serialised.text, metadataVersion, bytes: serialised.bytes };
  };
  return context instanceof Promise ? context.then(row) : row(context);
}

/** What a validator gives is what is serialised, in the same turn: nothing can change in between. */
function contextOf(
  context: unknown,
  definition: Definition | undefined,
  path: string,
  { maxEventBytes }: Settings,
  policy: Policy,
  problems: Problems,
): Serialised | Promise<Serialised> {
  const schema = definition?.schema;
  if (schema === undefined) return serialiseContext(context, path, maxEventBytes, problems, policy);
  const serialise = (valid: { readonly output: unknown } | undefined): Serialised =>
    valid && serialiseContext(valid.output, path, maxEventBytes, problems, policy);
  const result = validated(schema, context, path, maxEventBytes, problems);
  return result instanceof Promise ? result.then(serialise) : serialise(result);
}
