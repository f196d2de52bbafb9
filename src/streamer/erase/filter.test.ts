import { expect, test } from 'vitest';
import { holdsOf, readPolicy } from '../clickhouse/retention-policy.ts';
import { digestOf, heldInOutbox, heldInTable, inOutbox, inTable, parametersOf, type Filter } from './filter.ts';

const FILTER: Filter = { subjects: ['a', 'b'], ids: [], types: [], environments: ['x'] };

test('a filter is the same condition in both databases, with every value as a parameter', () => {
  expect(inOutbox(FILTER)).toEqual({
    sql: 'subject = ANY ($1::text[]) AND environment = ANY ($2::text[])',
    values: [['a', 'b'], ['x']],
  });
  expect(inTable(FILTER)).toBe(
    'subject IN {subjects:Array(String)} AND toString(environment) IN {environments:Array(String)}',
  );
  expect(parametersOf(FILTER)).toEqual({ subjects: ['a', 'b'], environments: ['x'] });
});

test('digestOf knows a filter again in any order, and only under its erasure', () => {
  const digest = digestOf('1', FILTER);
  expect(digestOf('1', { ...FILTER, subjects: ['b', 'a', 'b'] })).toBe(digest);
  expect(digestOf('2', FILTER)).not.toBe(digest);
  // a value is not taken for one of another list
  expect(digestOf('1', { ...FILTER, subjects: [], types: ['a', 'b'] })).not.toBe(digest);
  expect(digestOf('1', { ...FILTER, ids: ['AB'] })).toBe(digestOf('1', { ...FILTER, ids: ['ab'] }));
});

test('what a rule holds is the same in both databases', () => {
  const holds = holdsOf(readPolicy("type=a.* subject=o'7:forever, environment=x:forever, default:forever", 0).policy);
  expect(heldInOutbox(holds, 3)).toEqual({
    sql: '((starts_with(event_type, $3::text) AND subject = $4::text) OR (environment = $5::text))',
    values: ['a.', "o'7", 'x'],
  });
  expect(heldInTable(holds)).toBe("((startsWith(event_type, 'a.') AND (subject = 'o\\'7')) OR ((environment = 'x')))");
});
