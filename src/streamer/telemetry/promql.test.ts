import { expect, test } from 'vitest';
import { readQuery } from './promql.fixture.ts';

test.each([
  ['up', ['up'], []],
  ['sum by (a, b) (rate(x_total[5m])) > 0', ['x_total'], ['a', 'b']],
  ['sum(rate(x_total[5m])) without (a)', ['x_total'], ['a']],
  ['histogram_quantile(0.99, sum by (le) (rate(x_bucket[1h30m])))', ['x_bucket'], ['le']],
  ['a and on (slot) max by (slot) (b) == bool 1', ['a', 'b'], ['slot', 'slot']],
  ['a * on(x) group_left(y) b / 1e3 - .5 ^ 0x1f', ['a', 'b'], ['x', 'y']],
  ['max_over_time(a[1h:5m] offset 1w) or vector(0) unless NaN # a comment', ['a'], []],
  ['sum + count', ['sum', 'count'], []],
  ['a:b:rate5m % on() c', ['a:b:rate5m', 'c'], []],
])('readQuery reads %s', (query, metrics, labels) => {
  expect(readQuery(query).selectors.map(({ metric }) => metric)).toEqual(metrics);
  expect(readQuery(query).labels).toEqual(labels);
});

test('readQuery reads matchers, and no metric within their strings', () => {
  expect(readQuery(`x{a="b, c{}", d!~'e|f',}`).selectors).toEqual([
    {
      metric: 'x',
      matchers: [
        { label: 'a', operator: '=', value: 'b, c{}' },
        { label: 'd', operator: '!~', value: 'e|f' },
      ],
    },
  ]);
});

test.each([
  ['rate(x[5m]', 'is not closed'],
  ['x)', 'is not open'],
  ['x[5]', 'is no duration'],
  ['x[5m', 'ends early'],
  ['x{a="b"', 'ends early'],
  ['x{a}', 'matches no label'],
  ['x{a>"b"}', 'matches no label'],
  ['foo(x)', 'unknown function foo'],
  ['{a="b"}', 'unexpected "{"'],
  ['x{a="b}', 'no token'],
  ['x ; y', 'no token'],
  ['sum by (a b) (x)', 'is expected'],
  ['5minutes', 'no token'],
])('readQuery rejects %s', (query, problem) => {
  expect(() => readQuery(query)).toThrow(problem);
});
