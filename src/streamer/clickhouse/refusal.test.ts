import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../errors.ts';
import { refusal } from './refusal.ts';

const CLASSES: Partial<Record<ErrorCode, number[]>> = {
  OUTBOX_CH_UNAVAILABLE: [
    159, 160, 173, 198, 202, 203, 209, 210, 216, 225, 236, 241, 242, 243, 244, 254, 279, 285, 286, 319, 364, 394, 425,
    439, 499, 735, 745, 999, 1000,
  ],
  OUTBOX_CH_NOT_MIGRATED: [60, 81],
  OUTBOX_CH_AUTH: [192, 193, 194, 497, 516],
  OUTBOX_CH_REFUSED: [16, 36, 47, 48, 62, 115, 164, 452],
  OUTBOX_CH_VIEW_FAILED: [395],
  OUTBOX_CH_ROW_REFUSED: [6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 376, 441, 469],
};
const all = Object.entries(CLASSES).flatMap(([expected, codes]) => codes.map((code) => ({ code, expected })));
const CANARY = 'canary-41f7';

describe('refusal', () => {
  test.each(all)('maps ClickHouse’s $code to $expected', ({ code, expected }) => {
    const error = refusal(code, 'SOME_NAME', 'said');
    expect(error).toMatchObject({ code: expected, clickhouseCode: code });
    expect(error.message).toContain(`${code} SOME_NAME`);
  });

  test('is tested with each code in one class only', () => {
    expect(new Set(all.map(({ code }) => code)).size).toBe(all.length);
  });

  test.each([0, 1, 49, 107, 1001, 99_999, Number.NaN])('maps the unknown %d to OUTBOX_CH_FAILED', (code) => {
    expect(refusal(code, '', '').code).toBe('OUTBOX_CH_FAILED');
  });

  // https://github.com/ClickHouse/ClickHouse/blob/master/src/Storages/MergeTree/MergeTreeData.cpp
  test.each([
    ['Too many partitions for single INSERT block (more than 100).', 'OUTBOX_CH_REFUSED'],
    ['Too many parts (300). Merges are processing significantly slower than inserts.', 'OUTBOX_CH_UNAVAILABLE'],
    ["Too many parts (10) in all partitions in total in table 'e'.", 'OUTBOX_CH_UNAVAILABLE'],
    ["Too many parts (3000) in table 'audit.partitions'.", 'OUTBOX_CH_UNAVAILABLE'],
  ])('tells the two faults of 252 apart by the message: %s', (message, expected) => {
    expect(refusal(252, 'TOO_MANY_PARTS', message).code).toBe(expected);
  });
});

describe('refusal and the words of the server (invariant 10)', () => {
  // 36: `Invalid argument of function parseTimeDelta, str: "…"` out of a materialized view
  const quoting = [...CLASSES.OUTBOX_CH_ROW_REFUSED!, ...CLASSES.OUTBOX_CH_VIEW_FAILED!, 36, 0, 1, 49, 1001];

  test.each(quoting)('repeats none of them in message, stack or JSON for %d, which may quote a row', (code) => {
    const error = refusal(code, 'CANNOT_PARSE_TEXT', `Cannot parse '${CANARY}'`);
    for (const said of [error.message, String(error.stack), JSON.stringify(error), JSON.stringify(error.problems)])
      expect(said).not.toContain(CANARY);
    expect(error.cause).toBeUndefined();
  });

  test.each(all)('repeats none of them for $code when an expression over rows failed', ({ code }) => {
    const error = refusal(code, 'NAME', `x '${CANARY}': ${'y'.repeat(500)} while executing 'FUNCTION f(s :: 1)'`);
    expect(String(error.stack)).not.toContain(CANARY);
  });

  test.each([60, 241, 252, 497, 164])('repeats the first of them for %d, which speaks of the server', (code) => {
    const error = refusal(code, 'NAME', `Table audit.events: ${'x'.repeat(1000)}`);
    expect(error.message).toContain('Table audit.events');
    expect(error.message.length).toBeLessThan(400);
  });
});
