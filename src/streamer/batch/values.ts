import { EVENT_COLUMNS, type EventValues, type Tuple } from '../source/event-columns.ts';

/** A row that did not come by the stream. */
export interface Values {
  readonly buffer: Buffer;
  readonly tuple: Tuple;
}

export function valuesOf(row: EventValues): Values {
  const values = EVENT_COLUMNS.map(({ name }) => row[name]);
  const tuple = { start: new Int32Array(EVENT_COLUMNS.length), end: new Int32Array(EVENT_COLUMNS.length) };
  let at = 0;
  values.forEach((value, field) => {
    tuple.start[field] = value === null ? -1 : at;
    at += value?.length ?? 0;
    tuple.end[field] = at;
  });
  return { buffer: Buffer.concat(values.filter((value) => value !== null)), tuple };
}
