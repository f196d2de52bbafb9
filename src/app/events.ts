import { OutboxError } from '../errors.ts';
import { type Amendments, serialiseContext } from './context.ts';
import { DEFINITION, type DefinedEvent, type Definition, type EventContext, type EventOptions } from './define.ts';
import type { EventRow } from './event-row.ts';
import { eventType, instant, knownOnly, text, uuid, version } from './fields.ts';
import { kindOf, pathOf, Problems, thrownName } from './problems.ts';
import type { Settings } from './settings.ts';
import { fitOneInsert } from './statement.ts';
import { uuidv7 } from './uuid.ts';
import { validated } from './validate.ts';

/** An event, as given to `emitEvent`. `emitEvent` rejects any other field, so that a typo cannot lose a value. */
export interface OutboxEvent extends EventOptions {
  /** What kind of event: not empty, 65,535 bytes of UTF-8 at most, no NUL. By convention `noun.verb`: `order.placed`. */
  readonly type: string;
  /** What happened. Its JSON text may have OUTBOX_MAX_EVENT_BYTES at most (UTF-8 bytes; 16 MiB by default). */
  readonly context: EventContext;
  /** The version of this type's context: a whole number from 0 to 2^53 − 1, or as a bigint to 2^63 − 1. Default: 1. */
  readonly metadataVersion?: number | bigint | undefined;
}

/** An event made by a definition, or written by hand: in this order, in which TypeScript 5 explains a wrong one by the latter. */
export type AnyEvent = DefinedEvent | OutboxEvent;

/** The rules that an outbox adds to those of every event. */
export interface Policy extends Amendments {
  /** The only definitions whose events are accepted. */
  readonly accepted?: ReadonlySet<Definition> | undefined;
}

const FIELDS = [
  'type',
  'context',
  'id',
  'time',
  'environment',
  'subject',
  'metadataVersion',
] as const satisfies (keyof OutboxEvent)[];

/**
 * Checks one event and gives its row.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with every problem as `event.<path>: <fault>`
 */
export function rowOf(event: AnyEvent, settings: Settings, policy: Policy = {}): EventRow {
  const problems = new Problems();
  const row = check(event, 'event', settings, policy, problems);
  if (row === undefined) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
  return row;
}

/**
 * Checks all events and gives their rows, in their order.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with the problems of all events as `events[2].<path>: <fault>`; beyond 100
 *   the last one says how many more there are
 */
export function rowsOf(events: readonly AnyEvent[], settings: Settings, policy: Policy = {}): EventRow[] {
  const problems = new Problems();
  const rows: EventRow[] = [];
  if (!Array.isArray(events)) problems.add('events', `is ${kindOf(events)}, not an array`);
  else {
    // By index, because forEach and map skip the holes of an array.
    for (let index = 0; index < events.length; index += 1) {
      const row = check(events[index], pathOf('events', index), settings, policy, problems);
      if (row !== undefined) rows.push(row);
    }
  }
  if (problems.count === 0 && !fitOneInsert(rows))
    problems.add('events', 'are larger than 64 MiB together: emit them by several calls');
  if (problems.count > 0) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
  return rows;
}

function check(
  event: unknown,
  path: string,
  settings: Settings,
  policy: Policy,
  problems: Problems,
): EventRow | undefined {
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
  const at = `${path}.context`;
  const { maxEventBytes } = settings;
  const beforeContext = problems.count;
  const valid =
    definition === undefined ? given.context : validated(definition, given.context, at, maxEventBytes, problems);
  const context =
    problems.count > beforeContext ? undefined : serialiseContext(valid, at, maxEventBytes, problems, policy);
  const id = given.id === undefined ? uuidv7() : uuid(given.id, `${path}.id`, problems);
  const time = given.time === undefined ? settings.now : instant(given.time, `${path}.time`, problems);
  const environment = text(given.environment ?? settings.environment, `${path}.environment`, problems);
  const metadataVersion = version(given.metadataVersion ?? 1, `${path}.metadataVersion`, problems);
  const subject = context === undefined ? '' : subjectOf(given.subject, definition, valid, `${path}.subject`, problems);

  if (context === undefined || problems.count > before) return undefined;
  return { id, type, time, environment, context: context.text, metadataVersion, subject, bytes: context.bytes };
}

function subjectOf(
  given: unknown,
  definition: Definition | undefined,
  context: unknown,
  path: string,
  problems: Problems,
): string {
  if (given !== undefined) return text(given, path, problems);
  try {
    return text(definition?.subject?.(context as never) ?? '', path, problems);
  } catch (error) {
    problems.add(path, `cannot be made: the definition's function threw ${thrownName(error)}`);
    return '';
  }
}
