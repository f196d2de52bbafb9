import { isDate } from 'node:util/types';
import { OutboxError } from '../errors.ts';
import { serialiseContext } from './context.ts';
import { nearest } from './nearest.ts';
import { kindOf, pathOf, Problems } from './problems.ts';
import type { Settings } from './settings.ts';
import { uuidv7 } from './uuid.ts';

/**
 * What happened, as plain data: a JSON object. Arrays, Maps and Sets are refused by this type and at run time.
 *
 * Written as JSON.stringify writes it (a Date as ISO 8601, whatever has a toJSON by it, undefined properties left out),
 * but what JSON.stringify would lose in silence is refused: NaN, the infinities, bigint, functions, symbols, an invalid
 * Date, cycles, more than 100 levels, and class instances without a toJSON (also Error, RegExp and typed arrays).
 */
export type EventContext = (object | Record<string, unknown>) & { readonly [Symbol.iterator]?: never };

/** An event, as given to `emitEvent`. Fields that are not listed here are refused, so that a typo is not lost. */
export interface OutboxEvent {
  /** What kind of event: not empty, 65,535 bytes of UTF-8 at most, no NUL. By convention `noun.verb`: `order.placed`. */
  readonly type: string;
  /** What happened. Its JSON text may have OUTBOX_MAX_EVENT_BYTES at most (UTF-8 bytes; 16 MiB by default). */
  readonly context: EventContext;
  /** A UUID of any version, 8-4-4-4-12. Default: a new UUIDv7. Not checked for uniqueness: the same id twice is two events. */
  readonly id?: string | undefined;
  /** When it happened, from 1900 to 2299, to the millisecond. Default: now, by this process's clock. */
  readonly time?: Date | undefined;
  /** Where it happened: 65,535 bytes of UTF-8 at most, no NUL. Default: OUTBOX_ENVIRONMENT, else ''. */
  readonly environment?: string | undefined;
  /** The version of this type's context: a whole number from 0 to 2,147,483,647. Default: 1. */
  readonly metadataVersion?: number | undefined;
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
const KNOWN: ReadonlySet<string> = new Set(FIELDS);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_TEXT_BYTES = 65_535;
const MAX_INT32 = 2_147_483_647;
/** What ClickHouse's DateTime64 holds without clamping. */
const FIRST_TIME = Date.UTC(1900, 0, 1);
const LAST_TIME = Date.UTC(2300, 0, 1) - 1;

/**
 * Checks one event and gives its row.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with every problem as `event.<path>: <fault>`
 */
export function rowOf(event: OutboxEvent, settings: Settings): EventRow {
  const problems = new Problems();
  const row = check(event, 'event', settings, problems);
  if (row === undefined) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
  return row;
}

/**
 * Checks all events and gives their rows, in their order.
 *
 * @throws OutboxError OUTBOX_EVENT_INVALID, with the problems of all events as `events[2].<path>: <fault>`; beyond 100
 *   the last one says how many more there are
 */
export function rowsOf(events: readonly OutboxEvent[], settings: Settings): EventRow[] {
  const problems = new Problems();
  const rows: EventRow[] = [];
  if (!Array.isArray(events)) problems.add('events', `is ${kindOf(events)}, not an array`);
  else {
    // By index, because forEach and map would step over a hole.
    for (let index = 0; index < events.length; index += 1) {
      const row = check(events[index], pathOf('events', index), settings, problems);
      if (row !== undefined) rows.push(row);
    }
  }
  if (problems.count > 0) throw new OutboxError('OUTBOX_EVENT_INVALID', { problems: problems.list() });
  return rows;
}

function check(event: unknown, path: string, settings: Settings, problems: Problems): EventRow | undefined {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) {
    problems.add(path, `is ${kindOf(event)}, not an event: an object with type and context`);
    return undefined;
  }
  const before = problems.count;
  const given = event as { readonly [Field in keyof OutboxEvent]?: unknown };
  for (const name of Object.keys(given)) if (!KNOWN.has(name)) problems.add(pathOf(path, name), unknownField(name));

  const type = text(given.type, `${path}.type`, problems);
  if (type === '') problems.add(`${path}.type`, 'is empty');
  const context = serialiseContext(given.context, `${path}.context`, settings.maxEventBytes, problems);
  const id = given.id === undefined ? uuidv7() : uuid(given.id, `${path}.id`, problems);
  const time = given.time === undefined ? settings.now : instant(given.time, `${path}.time`, problems);
  const environment = text(given.environment ?? settings.environment, `${path}.environment`, problems);
  const metadataVersion = version(given.metadataVersion ?? 1, `${path}.metadataVersion`, problems);

  if (problems.count > before || context === undefined) return undefined;
  return { id, type, time, environment, context: context.text, metadataVersion, bytes: context.bytes };
}

function unknownField(name: string): string {
  const meant = nearest(name, FIELDS);
  return `is not a field of an event${meant === undefined ? `; the fields are ${FIELDS.join(', ')}` : `: did you mean ${meant}?`}`;
}

/** A text that Postgres takes in any position of the caller's transaction: it refuses NUL and broken UTF-16 only there. */
function text(value: unknown, path: string, problems: Problems): string {
  if (value === undefined) problems.add(path, 'is missing');
  else if (typeof value !== 'string') problems.add(path, `is ${kindOf(value)}, not a string`);
  else if (!value.isWellFormed()) problems.add(path, 'holds a lone surrogate, which UTF-8 cannot express');
  else if (value.includes('\0')) problems.add(path, 'holds a NUL, which Postgres cannot store');
  else if (value.length > MAX_TEXT_BYTES / 3 && Buffer.byteLength(value) > MAX_TEXT_BYTES)
    problems.add(path, `is longer than ${MAX_TEXT_BYTES} bytes`);
  else return value;
  return 'unusable';
}

function uuid(value: unknown, path: string, problems: Problems): string {
  if (typeof value === 'string' && UUID.test(value)) return value.toLowerCase();
  problems.add(
    path,
    typeof value === 'string' ? 'is not a UUID of the form 8-4-4-4-12' : `is ${kindOf(value)}, not a UUID`,
  );
  return '';
}

function instant(value: unknown, path: string, problems: Problems): string {
  if (!isDate(value)) {
    problems.add(path, `is ${kindOf(value)}, not a Date`);
    return '';
  }
  const ms = value.getTime();
  if (ms >= FIRST_TIME && ms <= LAST_TIME) return new Date(ms).toISOString();
  problems.add(path, Number.isNaN(ms) ? 'is an invalid Date' : 'is outside 1900-01-01 to 2299-12-31');
  return '';
}

function version(value: unknown, path: string, problems: Problems): number {
  if (typeof value !== 'number') problems.add(path, `is ${kindOf(value)}, not a number`);
  else if (!Number.isInteger(value) || value < 0 || value > MAX_INT32)
    problems.add(path, `is not a whole number from 0 to ${MAX_INT32}`);
  else return value;
  return 0;
}
