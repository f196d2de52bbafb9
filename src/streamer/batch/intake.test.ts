import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as wire from '../source/messages.fixture.ts';
import { Feed, positionsOf, stream } from './intake.fixture.ts';

/** Bytes of a row of the fixture with an empty context. */
const ROW_BYTES = (() => {
  const feed = new Feed().transactions(...stream([[0]]));
  feed.run();
  return feed.intake.bytes;
})();

const [T1, T2] = stream([
  [1, 1, 1],
  [1, 1],
]) as [wire.WireTransaction, wire.WireTransaction];

describe('Intake and its limits (invariant 6)', () => {
  test('cuts no batch beyond rows or bytes, except for a single event, and loses, duplicates and reorders nothing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.nat({ max: 3000 }), { maxLength: 12 }), { maxLength: 12 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 6000 }),
        fc.nat({ max: 50 }),
        (lengths, maxRows, maxBytes, extraRowBytes) => {
          const transactions = stream(lengths);
          const feed = new Feed({ maxRows, maxBytes, extraRowBytes }).transactions(...transactions);
          const batches = feed.cutAll();
          for (const batch of batches) {
            expect(batch.rows).toBeLessThanOrEqual(maxRows);
            expect(batch.rows === 1 || batch.bytes <= maxBytes).toBe(true);
          }
          const all = transactions.flatMap(({ commitLsn, events }) =>
            events.map((_, i) => ({ lsn: commitLsn, seq: i + 1 })),
          );
          expect(batches.flatMap(positionsOf)).toEqual(all);
          expect(batches.map(({ lastLsn, lastSeq }) => ({ lsn: lastLsn, seq: lastSeq }))).toEqual(
            batches.map((batch) => positionsOf(batch).at(-1)),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  test('takes and acknowledges nothing that is committed at or behind the end of its ledger', () => {
    const feed = new Feed({ ends: T2.commitLsn }).transactions(T1, T2);
    const [batch] = feed.cutAll();
    expect(positionsOf(batch!).map(({ lsn }) => lsn)).toEqual([T1.commitLsn, T1.commitLsn, T1.commitLsn]);
    feed.intake.settled(batch!);
    feed.intake.advanceTo(T2.commitLsn + 1000);
    expect(feed.intake.ackable).toBe(T2.commitLsn);
  });

  test('calls a batch full at its last row, without waiting for another', () => {
    const feed = new Feed({ maxRows: 2 }).transactions(T1);
    expect(feed.run()).toBe(3);
    expect(feed.intake.timer.dueIn()).toBe(0);
    expect(feed.progress).toBe(2);
  });

  test('refuses a row that does not fit as often as it is offered, and puts it first into the next batch', () => {
    const feed = new Feed({ maxBytes: 2 * ROW_BYTES + 10 }).transactions(...stream([[1, 1, 5000]]));
    expect(feed.run()).toBe(3);
    expect(feed.run()).toBe(0);
    expect(feed.intake.timer.dueIn()).toBe(0);
    expect(positionsOf(feed.intake.cut()).map(({ seq }) => seq)).toEqual([1, 2]);
    feed.run();
    expect(feed.waiting).toBe(0);
    expect(positionsOf(feed.intake.cut())).toEqual([{ lsn: 1000, seq: 3 }]);
  });

  test('puts an event larger than all limits into a batch of its own', () => {
    const feed = new Feed({ maxBytes: 1000 }).transactions(...stream([[1, 100_000, 1]]));
    expect(feed.cutAll().map(positionsOf)).toEqual([1, 2, 3].map((seq) => [{ lsn: 1000, seq }]));
  });

  test('counts the bytes that constants take', () => {
    const rows = (extraRowBytes: number): number => {
      const feed = new Feed({ maxBytes: 10 * ROW_BYTES, extraRowBytes }).transactions(
        ...stream([Array<number>(20).fill(0)]),
      );
      feed.run();
      return feed.intake.rows;
    };
    expect(rows(0)).toBe(10);
    expect(rows(ROW_BYTES)).toBe(5);
  });
});

describe('Intake and its timer', () => {
  test('Intake tells its timer of the first row, of a full batch and of each cut', () => {
    const feed = new Feed({ maxRows: 3 }).transactions(T1, T2);
    const { timer } = feed.intake;
    expect(timer.dueIn()).toBeUndefined();
    feed.run(2);
    expect(timer.dueIn()).toBeGreaterThan(0);
    expect(timer.isFull).toBe(false);
    feed.run();
    expect(timer.isFull).toBe(true);
    feed.intake.cut();
    expect(timer.dueIn()).toBeUndefined();
    feed.run();
    expect(timer.dueIn()).toBe(100);
  });

  test('Intake tells of progress with the first row, and when the batch is full', () => {
    const feed = new Feed({ maxRows: 3 }).transactions(T1, T2);
    const told = [1, 1, 1, 1].map((step) => {
      feed.run(step);
      return feed.progress;
    });
    expect(told).toEqual([0, 1, 1, 2]);
  });
});

describe('Intake and delivered events (invariant 4)', () => {
  test('skips positions that are delivered, also inside a transaction, and keeps the numbers of the others', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 10 }),
        fc.nat({ max: 9 }),
        fc.nat({ max: 7 }),
        fc.integer({ min: 1, max: 5 }),
        (counts, of, seq, maxRows) => {
          const transactions = stream(counts.map((count) => Array<number>(count).fill(1)));
          const delivered = { lsn: transactions[of % transactions.length]!.commitLsn, seq };
          const feed = new Feed({ delivered, maxRows }).transactions(...transactions);
          const expected = transactions
            .flatMap(({ commitLsn: lsn, events }) => events.map((_, i) => ({ lsn, seq: i + 1 })))
            .filter((at) => at.lsn > delivered.lsn || (at.lsn === delivered.lsn && at.seq > delivered.seq));
          expect(feed.cutAll().flatMap(positionsOf)).toEqual(expected);
        },
      ),
    );
  });

  test('lets a transaction be acknowledged at once that is delivered whole', () => {
    const feed = new Feed({ delivered: { lsn: T1.commitLsn, seq: 3 } }).transactions(T1);
    feed.run();
    expect(feed.intake.ackable).toBe(T1.endLsn);
    expect(feed.intake.isIdle).toBe(true);
  });
});

describe('Intake and keepalives (invariant 2)', () => {
  test('moves ackable forwards with them when idle, and never backwards', () => {
    const { intake } = new Feed();
    intake.advanceTo(500);
    expect(intake.ackable).toBe(500);
    intake.advanceTo(400);
    expect(intake.ackable).toBe(500);
  });

  test('ignores them inside a transaction, with rows buffered, and with rows cut but unsettled', () => {
    const feed = new Feed().transactions(T1);
    const ackable: number[] = [];
    for (let i = 0; i < 5; i++) {
      feed.run(1);
      feed.intake.advanceTo(9000);
      ackable.push(feed.intake.ackable);
    }
    const batch = feed.intake.cut();
    feed.intake.advanceTo(9000);
    ackable.push(feed.intake.ackable);
    feed.intake.settled(batch);
    ackable.push(feed.intake.ackable);
    expect(ackable).toEqual([0, 0, 0, 0, 0, 0, T1.endLsn]);
    feed.intake.advanceTo(9000);
    expect(feed.intake.ackable).toBe(9000);
  });

  test('ignores them inside a transaction without events yet', () => {
    const feed = new Feed().transactions({ commitLsn: 10, endLsn: 20, events: [] });
    feed.run(1);
    feed.intake.advanceTo(15);
    expect(feed.intake.ackable).toBe(0);
    feed.run();
    expect(feed.intake.ackable).toBe(20);
  });
});

test('Intake passes on a description of the table (invariant 8)', () => {
  const feed = new Feed().queue(wire.relation());
  feed.run();
  expect(feed.relations).toBe(1);
});
