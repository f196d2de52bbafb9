import { describe, expect, test } from 'vitest';
import type { EventRow } from './events.ts';
import { Hidden } from './hidden.ts';
import { fitOneInsert, insertMany, insertOne, type Statement } from './statement.ts';

const TRACE = { traceparent: 'parent', tracestate: null };

function row(index: number, fields: Partial<EventRow> = {}): EventRow {
  const context = JSON.stringify({ index });
  return {
    id: `id-${index}`,
    type: 'a',
    time: 'time',
    environment: '',
    context,
    metadataVersion: 1,
    bytes: context.length,
    ...fields,
  };
}

function revealed(statement: Statement): unknown[] {
  return statement.values.map((value) => (value instanceof Hidden ? value.toPostgres() : value));
}

test('one event has a statement of its own, which shows no context', () => {
  const statement = insertOne(row(1), TRACE);
  expect(revealed(statement)).toEqual(['id-1', 'a', 'time', '', '{"index":1}', '1', 'parent', null]);
  expect(JSON.stringify(statement.values)).not.toContain('index');
});

describe('many events', () => {
  test('go as columns, types and environments escaped', () => {
    const rows = [row(1, { type: 'a"b\\c', environment: '{,}' }), row(2, { type: 'NULL', metadataVersion: 2 })];
    const statement = insertMany(rows, TRACE);
    expect(revealed(statement)).toEqual([
      '{id-1,id-2}',
      '{"a\\"b\\\\c","NULL"}',
      '{time,time}',
      '{"{,}",""}',
      '{"index":1}\n{"index":2}',
      '{1,2}',
      'parent',
      null,
    ]);
    expect(JSON.stringify(statement.values)).not.toContain('index');
  });

  test('one is sent as one', () => {
    expect(insertMany([row(1)], TRACE).text).toBe(insertOne(row(1), TRACE).text);
  });

  test('fit up to 64 MiB, types and environments counted; one alone does in any case', () => {
    const half = 32 * 1024 * 1024;
    const rows = [row(0, { bytes: half }), row(1, { bytes: half - 2 * 128 - 6 })];
    expect(fitOneInsert(rows)).toBe(true);
    expect(fitOneInsert([rows[0]!, { ...rows[1]!, environment: 'x' }])).toBe(false);
    expect(fitOneInsert([row(0, { bytes: 3 * half })])).toBe(true);
    expect(fitOneInsert([])).toBe(true);
  });

  test('share one text, whatever their number', () => {
    const texts = [2, 3, 1000].map((count) => {
      const rows = Array.from({ length: count }, (_, i) => row(i));
      return insertMany(rows, TRACE).text;
    });
    expect(new Set(texts).size).toBe(1);
  });
});
