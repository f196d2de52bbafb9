import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../errors.ts';
import { foreignRefusal, OTHER_REPLICA, refusal as refusalOf, type ClickHouseRefusal } from './refusal.ts';

const refusal = (
  number: number,
  name: string,
  message: string,
  request: 'insert' | 'question' = 'insert',
): ClickHouseRefusal => refusalOf({ number, name, message, request });

const CLASSES: Partial<Record<ErrorCode, number[]>> = {
  OUTBOX_CH_UNAVAILABLE: [
    33, 75, 159, 160, 173, 198, 201, 202, 203, 209, 210, 216, 236, 241, 243, 244, 254, 279, 364, 394, 425, 439, 499,
    700, 735, 745, 1000,
  ],
  OUTBOX_CH_QUORUM: [285, 286],
  OUTBOX_CH_KEEPER_AWAY: [225, 242, 319, 999],
  OUTBOX_CH_NOT_MIGRATED: [60, 81],
  OUTBOX_CH_AUTH: [192, 193, 194, 497, 516],
  OUTBOX_CH_REFUSED: [16, 47, 62, 115, 164, 452],
  // in no list: any other number may be a row's, 76 (too many open files) that of a row with very many paths
  OUTBOX_CH_ROW_REFUSED: [0, 1, 6, 36, 38, 48, 49, 76, 107, 153, 167, 306, 395, 469, 675, 691, 1001, 99_999],
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

  test.each(CLASSES.OUTBOX_CH_ROW_REFUSED!)('says of %d to a question only that it failed', (code) => {
    expect(refusal(code, '', '', 'question')).toMatchObject({ code: 'OUTBOX_CH_FAILED', fault: undefined });
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

describe('refusal of a function that was given rows', () => {
  const said = "x: while executing 'FUNCTION formatQuerySingleLine(subject :: 0) -> f(subject) String : 1'";

  test.each([33, 16, 47, 60, 62, 81, 115, 164, 452, 497])(
    'leaves to other events whether %d is a row’s fault',
    (code) => {
      expect(refusal(code, 'NAME', said)).toMatchObject({ code: 'OUTBOX_CH_ROW_REFUSED', fault: 'row' });
    },
  );

  test.each([75, 198, 201, 202, 209, 210, 225, 242, 243, 252, 279, 285, 319, 439, 499, 745, 999, 1000])(
    'takes %d for an outage all the same: a dictionary may be away',
    (code) => {
      expect(refusal(code, 'NAME', said).fault).toBeUndefined();
    },
  );

  test.each([159, 241])('takes %d for want of time or memory all the same', (code) => {
    expect(refusal(code, 'NAME', said)).toMatchObject({ code: 'OUTBOX_CH_UNAVAILABLE', fault: 'load' });
  });

  test('takes a body that was cut short for an outage', () => {
    expect(refusal(33, 'CANNOT_READ_ALL_DATA', 'Cannot read all data. Bytes read: 3.').fault).toBeUndefined();
  });
});

test.each([
  [319, 'Unknown quorum status. The data was inserted in the local replica but we could not verify quorum.'],
  [254, 'Replica become inactive while waiting for quorum'],
])('refusal tells a quorum that was not reached from Keeper being away: %d', (number, said) => {
  expect(refusal(number, 'X', said)).toMatchObject({ code: 'OUTBOX_CH_QUORUM', isOutcomeUnknown: true });
});

test('refusal tells a look-up that another replica answered from one that failed', () => {
  const said = `${OTHER_REPLICA}: while executing 'FUNCTION throwIf'`;
  expect(refusal(395, 'X', said, 'question')).toMatchObject({ code: 'OUTBOX_CH_REPLICA_BEHIND' });
  expect(refusal(395, 'X', said, 'insert')).toMatchObject({ code: 'OUTBOX_CH_ROW_REFUSED' });
});

test('refusal takes a table that a view cannot fill for a fault of the view, and repeats ClickHouse’s words', () => {
  const error = refusal(60, 'UNKNOWN_TABLE', "Target table 'a.totals' of view 'a.events' doesn't exists.");
  expect(error).toMatchObject({ code: 'OUTBOX_CH_VIEW_FAILED', message: expect.stringContaining('a.totals') });
});

describe('refusal and the words of the server (invariant 10)', () => {
  // 36, for one: `Invalid argument of function parseTimeDelta, str: "…"` out of a materialized view
  const quoting = CLASSES.OUTBOX_CH_ROW_REFUSED!;

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

describe('foreignRefusal', () => {
  test.each([301, 401, 403, 404, 411, 429])('has no doubt that %d means that nothing was inserted', (status) => {
    const error = foreignRefusal(status, 'nginx/1.22.1');
    expect(error).toMatchObject({ code: 'OUTBOX_CH_PROXY', fault: undefined, isOutcomeUnknown: false });
    expect(error.message).toContain(`HTTP status ${status}, answered by nginx/1.22.1, not by ClickHouse`);
  });

  test.each([408, 500, 502, 503, 504])('does not know what became of the insert after %d', (status) => {
    expect(foreignRefusal(status, '')).toMatchObject({ fault: undefined, isOutcomeUnknown: true });
  });

  test('takes 413 for a fault of size', () => {
    expect(foreignRefusal(413, '')).toMatchObject({ fault: 'size', isOutcomeUnknown: false });
  });

  test('does not repeat a header that may hold anything', () => {
    expect(foreignRefusal(502, `${CANARY}\n\u001b[31m`).message).not.toContain(CANARY);
  });
});
