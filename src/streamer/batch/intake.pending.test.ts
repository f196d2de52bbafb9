import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { comparePositions, START, type Position } from '../../position.ts';
import type { WireTransaction } from '../source/messages.fixture.ts';
import { bodyOf, Feed, positionsOf, stream } from './intake.fixture.ts';

const lost: unknown = expect.objectContaining({ name: 'OutboxError', code: 'OUTBOX_RANGE_LOST' });

/** Commit LSNs 1000, 1040, 1080; their ends are the next one's beginning. */
const [T1, T2, T3] = stream([
  [1, 1],
  [1, 1, 1],
  [1, 1],
]) as [WireTransaction, WireTransaction, WireTransaction];
const at = (of: WireTransaction, seq: number): Position => ({ lsn: of.commitLsn, seq });
const without = (of: WireTransaction, ...removed: number[]): WireTransaction => ({
  ...of,
  events: of.events.filter((_, i) => !removed.includes(i + 1)),
});

describe('Intake with a pending range (invariant 4)', () => {
  const lengths = fc.array(fc.array(fc.nat({ max: 400 }), { maxLength: 8 }), { minLength: 1, maxLength: 10 });
  const limits = fc.record({
    maxRows: fc.integer({ min: 1, max: 12 }),
    maxBytes: fc.integer({ min: 1, max: 4000 }),
    extraRowBytes: fc.nat({ max: 100 }),
  });

  test('cuts the range to the same bytes again, whatever the limits are now and wherever the stream begins', () => {
    fc.assert(
      fc.property(
        lengths,
        limits,
        limits,
        fc.nat(),
        fc.nat(),
        fc.nat({ max: 40 }),
        (all, then, now, which, start, step) => {
          const transactions = stream(all, [0, 7]);
          const before = new Feed(then).transactions(...transactions).cutAll();
          fc.pre(before.length > 0);
          const chosen = which % before.length;
          const batch = before[chosen]!;
          const last = before[chosen - 1];
          const delivered = last === undefined ? START : { lsn: last.lastLsn, seq: last.lastSeq };
          // Postgres may begin with any transaction, as long as it is not behind the last one delivered in part
          const latest = transactions.findIndex(({ commitLsn }) => commitLsn >= positionsOf(batch)[0]!.lsn);
          const pending = { to: { lsn: batch.lastLsn, seq: batch.lastSeq }, rows: batch.rows };
          const feed = new Feed({ ...now, delivered, pending }).transactions(
            ...transactions.slice(start % (latest + 1)),
          );
          while (feed.intake.timer.dueIn() === undefined) {
            feed.nowMs += 10_000;
            feed.intake.timer.flushNow();
            expect(feed.run(step + 1)).toBeGreaterThan(0);
          }
          expect(feed.intake.timer.dueIn()).toBe(0);
          feed.run();
          expect(bodyOf(feed.intake.cut())).toBe(bodyOf(batch));
          // and what comes behind it follows the limits again
          const rest = feed.cutAll();
          expect(rest.flatMap(positionsOf)).toEqual(before.slice(chosen + 1).flatMap(positionsOf));
          expect(rest.every(({ rows }) => rows <= now.maxRows)).toBe(true);
        },
      ),
    );
  });

  test('is not idle before the range is settled, and lets keepalives short of it acknowledge nothing', () => {
    const feed = new Feed({ pending: { to: at(T2, 1), rows: 3 } });
    expect(feed.intake.isIdle).toBe(false);
    for (const walEnd of [1, T1.commitLsn, T2.commitLsn]) feed.intake.advanceTo(walEnd);
    expect(feed.intake.ackable).toBe(0);
    feed.transactions(T1, T2).run();
    const batch = feed.intake.cut();
    feed.run();
    expect(feed.intake.isIdle).toBe(false);
    expect(feed.intake.ackable).toBe(0);
    feed.intake.settled(batch);
    expect(feed.intake.ackable).toBe(T1.endLsn);
  });

  test('does not call the range lost for a keepalive inside its last transaction', () => {
    const feed = new Feed({ pending: { to: at(T1, 2), rows: 2 } }).transactions(T1);
    feed.run(2);
    feed.intake.advanceTo(T1.endLsn + 1000);
    feed.run(1);
    expect(feed.intake.timer.dueIn()).toBe(0);
    expect(feed.intake.ackable).toBe(0);
  });

  test('waits for the last row of the range, however old it is and even when a flush is asked for', () => {
    const feed = new Feed({ pending: { to: at(T1, 2), rows: 2 } }).transactions(T1);
    feed.run(2);
    feed.nowMs += 1_000_000;
    feed.intake.timer.flushNow();
    expect(feed.intake.timer.dueIn()).toBeUndefined();
    feed.run(1);
    expect(feed.intake.timer.dueIn()).toBe(0);
  });

  test('completes a range that ends with a transaction before the commit arrives', () => {
    const feed = new Feed({ pending: { to: at(T1, 2), rows: 2 } }).transactions(T1, T2);
    feed.run(3);
    expect(feed.intake.timer.dueIn()).toBe(0);
    const batch = feed.intake.cut();
    feed.run();
    feed.intake.settled(batch);
    expect(feed.intake.ackable).toBe(T1.endLsn);
  });
});

describe('Intake with a range that the stream may lack (invariants 4 and 8)', () => {
  const pending = { to: at(T2, 2), rows: 4 };

  test.each([
    ['begins behind the range', [T3]],
    ['begins inside the range', [T2, T3]],
    ['begins with the last transaction of the range, without its events', [{ ...T2, events: [] }, T3]],
    ['lacks the first row of the range', [without(T1, 1), T2, T3]],
    ['lacks the first transaction of the range', [T2, T3]],
    ['ends the last transaction of the range too early', [T1, without(T2, 2, 3), T3]],
    ['has one row more than the range', [{ ...T1, events: [...T1.events, {}] }, T2, T3]],
    ['passes the range in a transaction without events', [{ ...T3, events: [] }]],
    ['has no event in the last transaction of the range', [T1, { ...T2, events: [] }]],
  ] satisfies [string, WireTransaction[]][])('throws OUTBOX_RANGE_LOST when the stream %s', (_, transactions) => {
    const feed = new Feed({ pending }).transactions(...transactions);
    expect(() => {
      feed.run();
    }).toThrow(lost);
    expect(feed.intake.ackable).toBeLessThanOrEqual(T1.endLsn);
  });

  test.each([
    ['nothing of it came', []],
    ['a part of it came', [T1]],
  ])('throws OUTBOX_RANGE_LOST when the server is beyond the range, and %s', (_, transactions) => {
    const feed = new Feed({ pending }).transactions(...transactions);
    feed.run();
    feed.intake.advanceTo(T2.commitLsn);
    expect(() => {
      feed.intake.advanceTo(T2.commitLsn + 1);
    }).toThrow(lost);
    expect(feed.intake.ackable).toBeLessThanOrEqual(T1.endLsn);
  });

  test('does not count the delivered rows of the range’s first transaction', () => {
    const delivered = at(T1, 1);
    const feed = new Feed({ delivered, pending: { to: pending.to, rows: 3 } }).transactions(T1, T2, T3);
    feed.run();
    const positions = positionsOf(feed.intake.cut());
    expect(positions).toHaveLength(3);
    expect(positions.every((position) => comparePositions(position, delivered) > 0)).toBe(true);
  });

  test('holds no more rows in memory than the range has (invariant 6)', () => {
    const feed = new Feed({ pending: { to: at(T3, 1), rows: 2 }, maxRows: 1 }).transactions(T1, T2, T3);
    expect(() => {
      feed.run();
    }).toThrow(lost);
    expect(feed.intake.rows).toBeLessThanOrEqual(2);
  });

  test('does not call a whole range lost when the stream goes on, nor when the server is far ahead', () => {
    const feed = new Feed({ pending }).transactions(T1, T2, T3);
    feed.run();
    expect(feed.waiting).toBeGreaterThan(0);
    const batch = feed.intake.cut();
    feed.run();
    feed.intake.advanceTo(1_000_000);
    feed.intake.settled(batch);
    expect(feed.intake.ackable).toBe(T1.endLsn);
  });
});
