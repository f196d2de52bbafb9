import { describe, expect, test } from 'vitest';
import type { EventRow } from './events.ts';
import { Hidden } from './hidden.ts';
import { insertMany, insertOne, type Statement } from './statement.ts';

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
    const statements = [...insertMany(rows, TRACE)];
    expect(statements.map(revealed)).toEqual([
      [
        '{id-1,id-2}',
        '{"a\\"b\\\\c","NULL"}',
        '{time,time}',
        '{"{,}",""}',
        '{"index":1}\n{"index":2}',
        '{1,2}',
        'parent',
        null,
      ],
    ]);
    expect(JSON.stringify(statements[0]?.values)).not.toContain('index');
  });

  test('none make no statement, one is sent as one', () => {
    expect([...insertMany([], TRACE)]).toEqual([]);
    expect([...insertMany([row(1)], TRACE)].map((statement) => statement.text)).toEqual([
      insertOne(row(1), TRACE).text,
    ]);
  });

  test('are cut by bytes, in order, and one that is too large goes alone', () => {
    const rows = [row(0), row(1), row(2, { bytes: 10_000 }), row(3), row(4), row(5, { type: 'x'.repeat(300) })];
    const ids = [...insertMany(rows, TRACE, 1000)].map((statement) => revealed(statement)[0]);
    expect(ids).toEqual(['{id-0,id-1}', 'id-2', '{id-3,id-4}', 'id-5']);
  });

  test('share one text, whatever their number', () => {
    const texts = [2, 3, 1000].map(
      (count) =>
        [
          ...insertMany(
            Array.from({ length: count }, (_, i) => row(i)),
            TRACE,
          ),
        ][0]?.text,
    );
    expect(new Set(texts).size).toBe(1);
  });
});
