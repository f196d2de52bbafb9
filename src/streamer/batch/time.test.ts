import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromMilliseconds, readTimestamp, type Int64 } from './time.ts';

const EPOCH_2000 = 946_684_800_000_000n;
/** 1900-01-01 00:00:00 and 2299-12-31 23:59:59.999999 as µs since 1970, computed by hand from days. */
const FIRST = -25_567n * 86_400_000_000n;
const LAST = 120_530n * 86_400_000_000n - 1n;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

const valueOf = ({ high, low }: Int64): bigint => (BigInt(high) << 32n) + BigInt(low);

/** @param sent µs since 2000, as Postgres sends it */
function read(sent: bigint): { value: bigint; exact: boolean } {
  const buffer = Buffer.alloc(12);
  buffer.writeBigInt64BE(sent, 3);
  const into: Int64 = { high: 1, low: 1 };
  const exact = readTimestamp(buffer, 3, into);
  expect(Number.isInteger(into.high) && into.low >= 0 && into.low <= 0xffff_ffff).toBe(true);
  return { value: valueOf(into), exact };
}

const dateOf = (micros: bigint): string => new Date(Number(micros / 1000n)).toISOString();

test('the bounds in this test are those of DateTime64(6)', () => {
  expect(dateOf(FIRST)).toBe('1900-01-01T00:00:00.000Z');
  expect(dateOf(LAST)).toBe('2299-12-31T23:59:59.999Z');
});

test('readTimestamp moves any Int64 to 1970 or clamps it, as bigints do', () => {
  const anywhere = fc.bigInt({ min: INT64_MIN, max: INT64_MAX });
  const representable = fc.bigInt({ min: FIRST - EPOCH_2000, max: LAST - EPOCH_2000 });
  const nearACarry = fc
    .tuple(fc.integer({ min: -800_000, max: 2_300_000 }), fc.integer({ min: -3, max: 3 }), fc.boolean())
    .map(([high, delta, ofTarget]) => (BigInt(high) << 32n) + BigInt(delta) - (ofTarget ? EPOCH_2000 : 0n));
  fc.assert(
    fc.property(fc.oneof(anywhere, representable, nearACarry), (sent) => {
      const value = sent + EPOCH_2000;
      const clamped = value < FIRST ? FIRST : value > LAST ? LAST : value;
      expect(read(sent)).toEqual({ value: clamped, exact: clamped === value });
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['2000-01-01', 0n, EPOCH_2000],
  ['1970-01-01', -EPOCH_2000, 0n],
  ['one µs before 1970', -EPOCH_2000 - 1n, -1n],
  ['the first of DateTime64(6)', FIRST - EPOCH_2000, FIRST],
  ['the last of DateTime64(6)', LAST - EPOCH_2000, LAST],
])('readTimestamp reads %s exactly', (_, sent, value) => {
  expect(read(sent)).toEqual({ value, exact: true });
});

const julian = (year: bigint): bigint => (year - 2000n) * 31_556_952_000_000n;

test.each([
  ['-infinity', INT64_MIN, FIRST],
  ['infinity, which a careless sum wraps to the year 0', INT64_MAX, LAST],
  ['one µs above -infinity', INT64_MIN + 1n, FIRST],
  ['one µs below infinity', INT64_MAX - 1n, LAST],
  ['4713 BC, the first of Postgres', -211_813_488_000_000_000n, FIRST],
  ['44 BC', julian(-43n), FIRST],
  ['one µs before 1900', FIRST - EPOCH_2000 - 1n, FIRST],
  ['one µs after 2299', LAST - EPOCH_2000 + 1n, LAST],
  ['the year 294276, the last of Postgres', 9_223_371_331_199_999_999n, LAST],
])('readTimestamp clamps %s, and returns false', (_, sent, value) => {
  expect(read(sent)).toEqual({ value, exact: false });
});

test('fromMilliseconds returns µs', () => {
  fc.assert(
    fc.property(fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 }), (ms) => {
      expect(valueOf(fromMilliseconds(ms))).toBe(BigInt(ms) * 1000n);
    }),
  );
});

test('readTimestamp and fromMilliseconds let the caller change a time without moving a bound', () => {
  const into: Int64 = { high: 0, low: 0 };
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64BE(INT64_MAX);
  readTimestamp(buffer, 0, into);
  into.high = 0;
  expect(read(INT64_MAX)).toEqual({ value: LAST, exact: false });
  const now = fromMilliseconds(0);
  now.high = 5;
  expect(valueOf(fromMilliseconds(0))).toBe(0n);
});
