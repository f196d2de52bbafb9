import { expect, test } from 'vitest';
import { MATERIALIZED } from './contestants/materialized.ts';
import { NAIVE_TEXT } from './contestants/naive.ts';
import { POLLING_TEXT } from './contestants/polling.ts';
import { STREAMER_JSON, STREAMER_OBSERVED, STREAMER_TEXT } from './contestants/streamer.ts';
import type { Results, Run } from './figures.ts';
import { page } from './report.ts';
import { MAIN } from './scenarios/catch-up.ts';
import { LIVE, LIVE_10 } from './scenarios/live.ts';

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
    run(STREAMER_OBSERVED.name, 1, 0.01),
    run(MATERIALIZED.name, 1, 0.05),
    run(POLLING_TEXT.name, 1, 0.005),
    run(NAIVE_TEXT.name, 1, 0.05),
    {
      ...run(LIVE_10, 1, 100),
      scenario: LIVE.name,
      freshness: { p50: 501, p99: 1002, max: 1103 },
      more: { 'inserts per minute': 61 },
    },
  ],
};
const text = page(results);
const lineOf = (start: string): string => text.split('\n').find((line) => line.startsWith(`| ${start}`))!;

test('page shows a figure as the median of its repetitions, with both extremes', () => {
  expect(lineOf(STREAMER_JSON.name)).toContain('| 100,000 (50,000–200,000) |');
});

test('page shows how many rows are missing', () => {
  expect(text).toContain('rows missing');
  expect(lineOf(STREAMER_TEXT.name)).toMatch(/\| 10 +\| 0 +\|$/);
});

test('page judges goals by the run, and marks those that it did not measure', () => {
  expect(lineOf('rows/s with traces and metrics')).toMatch(/at least 0.970 +\| 1.000 +\| met/);
  expect(lineOf('rows/s, as a multiple of the fastest peer (text only)')).toMatch(
    /at least 1.00 +\| 0.50 +\| \*\*not met\*\*/,
  );
  expect(lineOf('freshness p99')).toContain('not measured');
});

test('page shows freshness and inserts per minute of a live load', () => {
  expect(text).toMatch(/\| fresh p50, ms \| fresh p99, ms \| fresh max, ms \| inserts per minute \|/);
  expect(lineOf(LIVE_10)).toMatch(/\| 501 +\| 1,002 +\| 1,103 +\| 61 +\|/);
});

test('page says whether the run was the standard run', () => {
  expect(text).toContain('**not the standard run**: `npm run bench -- --quick`');
  expect(page({ ...results, flags: '' })).toContain('the standard run');
});
