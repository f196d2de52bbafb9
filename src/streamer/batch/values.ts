import { EVENT_COLUMNS, type Tuple } from '../source/event-columns.ts';

/** A row that did not come by the stream. */
export interface Values {
  readonly buffer: Buffer;
  readonly tuple: Tuple;
}

/** @param values of EVENT_COLUMNS, in their order, in Postgres' binary form, or null */
export function valuesOf(values: readonly (Buffer | null)[]): Values {
  const tuple = { start: new Int32Array(EVENT_COLUMNS.length), end: new Int32Array(EVENT_COLUMNS.length) };
  let at = 0;
  values.forEach((value, field) => {
    tuple.start[field] = value === null ? -1 : at;
    at += value?.length ?? 0;
    tuple.end[field] = at;
  });
  return { buffer: Buffer.concat(values.filter((value) => value !== null)), tuple };
}
