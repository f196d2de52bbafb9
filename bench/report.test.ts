import { expect, test } from 'vitest';
import { MATERIALIZED } from './contestants/materialized.ts';
import { STREAMER_JSON, STREAMER_TEXT } from './contestants/streamer.ts';
import type { Results, Run } from './figures.ts';
import { page } from './report.ts';
import { MAIN } from './scenarios/catch-up.ts';

const run = (contestant: string, repetition: number, seconds: number, rows = 1000): Run => ({
  scenario: MAIN,
  contestant,
  repetition,
  events: 1000,
  seconds,
  cpu: { streamer: 0.002, walsender: 0.003 },
  peakMb: { streamer: 170 },
  curvesMb: { streamer: [80, 170] },
  rows,
  doubles: 0,
});

const results: Results = {
  startedAt: '2026-01-31T12:00:00.000Z',
  minutes: 3,
  machine: { processors: '2' },
  flags: '--quick',
  runs: [
    run(STREAMER_JSON.name, 1, 0.01),
    run(STREAMER_JSON.name, 2, 0.005),
    run(STREAMER_JSON.name, 3, 0.02),
    run(STREAMER_TEXT.name, 1, 0.01, 990),
    run(MATERIALIZED.name, 1, 0.05),
  ],
};
const text = page(results);
const lineOf = (start: string): string => text.split('\n').find((line) => line.startsWith(`| ${start}`))!;

test('a figure is the median of its repetitions, with the extremes', () => {
  expect(lineOf(STREAMER_JSON.name)).toContain('| 100,000 (50,000–200,000) |');
});

test('rows that did not arrive are shown', () => {
  expect(text).toContain('rows missing');
  expect(lineOf(STREAMER_TEXT.name)).toMatch(/\| 10 +\| 0 +\|$/);
});

test('goals are judged by the run, and are open where it did not measure them', () => {
  expect(lineOf('rows/s of MaterializedPostgreSQL, the same output')).toMatch(/at least 4.0 +\| 5.0 +\| met/);
  expect(lineOf('rows/s, text only')).toMatch(/at least 228,000 +\| 100,000 +\| \*\*not met\*\*/);
  expect(lineOf('freshness p99')).toContain('not measured');
});

test('another run than the standard one says so', () => {
  expect(text).toContain('**not the standard run**: `npm run bench -- --quick`');
  expect(page({ ...results, flags: '' })).toContain('the standard run');
});
