import { describe, expect, test } from 'vitest';
import type { EventRow } from './event-row.ts';
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
    subject: 'order/7',
    bytes: context.length,
    ...fields,
  };
}

function revealed(statement: Statement): unknown[] {
  return statement.values.map((value) => (value instanceof Hidden ? value.toPostgres() : value));
}

test('insertOne gives the row as parameters that hide the context from loggers', () => {
  const statement = insertOne(row(1), TRACE);
  expect(revealed(statement)).toEqual(['id-1', 'a', 'time', '', '{"index":1}', '1', 'order/7', 'parent', null]);
  expect(JSON.stringify(statement.values)).not.toContain('index');
});

describe('many events', () => {
  test('insertMany gives one array a column, with texts escaped', () => {
    const rows = [row(1, { type: 'a"b\\c', environment: '{,}' }), row(2, { type: 'NULL', metadataVersion: 2 })];
    const statement = insertMany(rows, TRACE);
    expect(revealed(statement)).toEqual([
      '{id-1,id-2}',
      '{"a\\"b\\\\c","NULL"}',
      '{time,time}',
      '{"{,}",""}',
      '{"index":1}\n{"index":2}',
      '{1,2}',
      '{"order/7","order/7"}',
      'parent',
      null,
    ]);
    expect(JSON.stringify(statement.values)).not.toContain('index');
  });

  test('insertMany uses the statement of insertOne for one event', () => {
    expect(insertMany([row(1)], TRACE).text).toBe(insertOne(row(1), TRACE).text);
  });

  test('fitOneInsert accepts up to 64 MiB, types, environments and subjects included, and one event of any size', () => {
    const half = 32 * 1024 * 1024;
    const rows = [row(0, { bytes: half }), row(1, { bytes: half - 2 * 128 - 6 - 6 * 'order/7'.length })];
    expect(fitOneInsert(rows)).toBe(true);
    expect(fitOneInsert([rows[0]!, { ...rows[1]!, environment: 'x' }])).toBe(false);
    expect(fitOneInsert([row(0, { bytes: 3 * half })])).toBe(true);
    expect(fitOneInsert([])).toBe(true);
  });

  test('insertMany uses one SQL text for any number of events', () => {
    const texts = [2, 3, 1000].map((count) => {
      const rows = Array.from({ length: count }, (_, i) => row(i));
      return insertMany(rows, TRACE).text;
    });
    expect(new Set(texts).size).toBe(1);
  });
});
