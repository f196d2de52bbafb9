/** One check for each field of an event. A check adds a problem for a wrong field, without its value. */
import { isDate } from 'node:util/types';
import { nearest, TYPO_SHARE } from '../nearest.ts';
import { kindOf, pathOf, type Problems } from './problems.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const MAX_TEXT_BYTES = 65_535;
/** The most that a bigint of Postgres holds; ClickHouse's UInt64 holds twice as much. */
const MAX_VERSION = 2n ** 63n - 1n;
/** The range that ClickHouse's DateTime64 stores as it is; it moves any other time to the nearest end. */
const FIRST_TIME = Date.UTC(1900, 0, 1);
const LAST_TIME = Date.UTC(2300, 0, 1) - 1;

/** A text that Postgres can store. Otherwise Postgres would reject NUL, and abort the caller's transaction. */
export function text(value: unknown, path: string, problems: Problems): string {
  if (value === undefined) problems.add(path, 'is missing');
  else if (typeof value !== 'string') problems.add(path, `is ${kindOf(value)}, not a string`);
  else if (!value.isWellFormed()) problems.add(path, 'holds a lone surrogate, which UTF-8 cannot express');
  else if (value.includes('\0')) problems.add(path, 'holds a NUL, which Postgres cannot store');
  else if (value.length > MAX_TEXT_BYTES / 3 && Buffer.byteLength(value) > MAX_TEXT_BYTES)
    problems.add(path, `is longer than ${MAX_TEXT_BYTES} bytes`);
  else return value;
  return 'unusable';
}

export function eventType(value: unknown, path: string, problems: Problems): string {
  const type = text(value, path, problems);
  if (type === '') problems.add(path, 'is empty');
  return type;
}

export function uuid(value: unknown, path: string, problems: Problems): string {
  if (typeof value === 'string' && UUID.test(value)) return value.toLowerCase();
  problems.add(
    path,
    typeof value === 'string' ? 'is not a UUID of the form 8-4-4-4-12' : `is ${kindOf(value)}, not a UUID`,
  );
  return '';
}

export function instant(value: unknown, path: string, problems: Problems): string {
  if (!isDate(value)) {
    problems.add(path, `is ${kindOf(value)}, not a Date`);
    return '';
  }
  const ms = value.getTime();
  if (ms >= FIRST_TIME && ms <= LAST_TIME) return new Date(ms).toISOString();
  problems.add(path, Number.isNaN(ms) ? 'is an invalid Date' : 'is outside 1900-01-01 to 2299-12-31');
  return '';
}

export function version(value: unknown, path: string, problems: Problems): number | bigint {
  if (typeof value !== 'number' && typeof value !== 'bigint')
    problems.add(path, `is ${kindOf(value)}, not a number or a bigint`);
  else if (typeof value === 'bigint' ? value < 0n || value > MAX_VERSION : !Number.isSafeInteger(value) || value < 0)
    problems.add(path, 'is not a whole number from 0 to 2^53 - 1, or as a bigint to 2^63 - 1');
  else return value;
  return 0;
}

/**
 * Adds a problem for every key that is not among the names, so that a typo cannot lose a value.
 *
 * @param whose what has these fields: `an event`
 */
export function knownOnly(
  given: object,
  path: string,
  names: readonly string[],
  whose: string,
  problems: Problems,
): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    problems.add(
      () => pathOf(path, name),
      () => `is not a field of ${whose}${hintOf(name, names)}`,
    );
  }
}

function hintOf(name: string, names: readonly string[]): string {
  const meant = nearest(name, names, TYPO_SHARE)?.name;
  return meant === undefined ? `; the fields are ${names.join(', ')}` : `: did you mean ${meant}?`;
}
