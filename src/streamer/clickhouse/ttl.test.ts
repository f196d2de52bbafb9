import { expect, test } from 'vitest';
import { emptiedColumns, expiresAtOnce, expiryOf } from './ttl.ts';

const DAY = 86_400;
const engine = (clause: string): string =>
  `MergeTree PARTITION BY toYYYYMM(committed_at) ORDER BY (event_date_time, event_type)${clause} SETTINGS fsync_after_insert = 1`;

test.for<readonly [clause: string, expected: unknown]>([
  ['', undefined],
  [' TTL toDateTime(committed_at) + toIntervalSecond(2)', { seconds: 2, column: 'committed_at' }],
  [' TTL (event_date_time + toIntervalYear(1)) - toIntervalDay(364)', { seconds: undefined }],
  [' TTL event_date_time + toIntervalWeek(2)', { seconds: 14 * DAY, column: 'event_date_time' }],
  [
    " TTL toDateTime(committed_at) + toIntervalDay(1) TO DISK 'cold', delivered_at + toIntervalDay(2) RECOMPRESS CODEC(ZSTD(9))",
    undefined,
  ],
  [
    " TTL committed_at + toIntervalDay(1) TO VOLUME 'cold', (committed_at + toIntervalDay(30)) + toIntervalHour(2)",
    { seconds: 30 * DAY + 7200 },
  ],
  [
    " TTL committed_at + toIntervalMonth(3), committed_at + toIntervalDay(4) WHERE event_type = 'x, TTL + toIntervalDay(1)'",
    { seconds: 4 * DAY },
  ],
  [' TTL committed_at + toIntervalMonth(1) GROUP BY event_date_time SET seq = max(seq)', { seconds: 28 * DAY }],
  [" TTL if(event_type = '', committed_at, delivered_at) + toIntervalYear(1)", { seconds: 365 * DAY }],
  [' TTL addDays(toDateTime(event_date_time), 4)', {}],
  [' TTL toDate(committed_at) + 7', {}],
  [' TTL toDate(committed_at) + toIntervalDay(30)', { seconds: 29 * DAY }],
  [' TTL toStartOfMonth(committed_at) + toIntervalDay(9)', { seconds: 0 }],
  [' TTL toStartOfMonth(committed_at) + toIntervalMonth(3)', { seconds: 53 * DAY }],
  [' TTL toStartOfInterval(committed_at, toIntervalMonth(6)) + toIntervalDay(9)', {}],
  [" TTL dateTrunc('month', committed_at) + toIntervalDay(9)", {}],
  [" TTL toDateTime(committed_at, 'UTC') + toIntervalDay(9)", { seconds: 9 * DAY }],
])('expiryOf of the clause%s tells what removes rows soonest', ([clause, expected]) => {
  expect(expiryOf(engine(clause))).toEqual(expected);
});

test('emptiedColumns names the columns that have a TTL, and no other word that looks like one', () => {
  const definition = `CREATE TABLE a.events (\`event_id\` UUID TTL toDateTime(at) + toIntervalDay(1), \`at\` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    \`of\\\`f\` String DEFAULT if(1, ') TTL (', 'b') TTL toDateTime(at) + toIntervalDay(2), \`text\` String COMMENT 'x TTL y', INDEX i at TYPE minmax)
    ENGINE = MergeTree ORDER BY at TTL toDateTime(at) + toIntervalDay(9)`;
  expect(emptiedColumns(definition)).toEqual(['event_id', 'of\\`f']);
});

test.for<readonly [clause: string, expected: boolean]>([
  ['', false],
  [' TTL committed_at + toIntervalDay(30)', false],
  [
    " TTL toDateTime(committed_at, 'UTC') + toIntervalDay(30) WHERE environment = 'x', delivered_at + toIntervalYear(2)",
    false,
  ],
  [" TTL toDateTime(event_date_time) + toIntervalDay(9) TO VOLUME 'cold'", false],
  [' TTL toDateTime(event_date_time) + toIntervalYear(1)', true],
  [' TTL committed_at + toIntervalDay(30), event_date_time + toIntervalYear(9)', true],
  [' TTL committed_at + toIntervalSecond(1)', true],
  [' TTL toStartOfMonth(committed_at) + toIntervalDay(9)', true],
])('expiresAtOnce of the clause%s is %s', ([clause, expected]) => {
  expect(expiresAtOnce(engine(clause))).toBe(expected);
});
