import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { START, type Position } from '../../position.ts';
import * as wire from '../source/messages.fixture.ts';
import type { WireTransaction } from '../source/messages.fixture.ts';
import type { Batch } from './batch.ts';
import { Feed, positionsOf, stream } from './intake.fixture.ts';

type Step =
  | { readonly do: 'feed'; readonly messages: number }
  | { readonly do: 'cut' }
  | { readonly do: 'settle' }
  | { readonly do: 'hurry' }
  | { readonly do: 'keepalive'; readonly ahead: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('feed' as const), messages: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ do: 'cut' }, { do: 'settle' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('keepalive' as const), ahead: fc.nat({ max: 30 }) }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'hurry' }) },
);

const key = ({ lsn, seq }: Position): string => `${lsn}:${seq}`;

/** What may be acknowledged, computed from scratch from all that happened. */
class Model {
  readonly #transactions: readonly WireTransaction[];
  readonly settled = new Set<string>();
  /** How many messages were taken, of all transactions in a row. */
  taken = 0;
  unsettled = 0;
  idleUpTo = 0;

  constructor(transactions: readonly WireTransaction[]) {
    this.#transactions = transactions;
  }

  get #committed(): WireTransaction[] {
    let messages = 0;
    return this.#transactions.filter(({ events }) => (messages += events.length + 2) <= this.taken);
  }

  get inTransaction(): boolean {
    return this.#committed.reduce((sum, { events }) => sum + events.length + 2, 0) < this.taken;
  }

  get isIdle(): boolean {
    return !this.inTransaction && this.unsettled === 0;
  }

  /** The end of what has been committed so far: no keepalive of an honest server is below it. */
  get reached(): number {
    return this.#committed.at(-1)?.endLsn ?? 0;
  }

  get nextCommit(): number {
    return this.#transactions[this.#committed.length]?.commitLsn ?? Infinity;
  }

  /** The end of the last transaction that is settled together with all before it, or an idle keepalive. */
  get ackable(): number {
    let ackable = this.idleUpTo;
    for (const { commitLsn, endLsn, events } of this.#committed) {
      if (!events.every((_, i) => this.settled.has(key({ lsn: commitLsn, seq: i + 1 })))) break;
      ackable = Math.max(ackable, endLsn);
    }
    return ackable;
  }
}

test('Intake never lets an event be acknowledged before it is settled, and forgets no settled one (invariant 2)', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.nat({ max: 300 }), { maxLength: 6 }), { maxLength: 15 }),
      fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 5 }),
      fc.record({ maxRows: fc.integer({ min: 1, max: 8 }), maxBytes: fc.integer({ min: 1, max: 1500 }) }),
      fc.option(fc.tuple(fc.nat(), fc.nat({ max: 6 }))),
      fc.array(step, { maxLength: 80 }),
      (lengths, gaps, limits, deliveredAt, steps) => {
        const transactions = stream(lengths, gaps);
        const delivered =
          deliveredAt === null || transactions.length === 0
            ? START
            : { lsn: transactions[deliveredAt[0] % transactions.length]!.commitLsn, seq: deliveredAt[1] };
        const feed = new Feed({ ...limits, delivered }).transactions(...transactions);
        const { intake } = feed;
        const model = new Model(transactions);
        for (const { commitLsn: lsn, events } of transactions) {
          for (let seq = 1; seq <= events.length; seq++) {
            if (lsn < delivered.lsn || (lsn === delivered.lsn && seq <= delivered.seq))
              model.settled.add(key({ lsn, seq }));
          }
        }
        const cut: Batch[] = [];
        const settle = (): void => {
          const batch = cut.shift();
          if (batch === undefined) return;
          // the memory is given back before the ledger settles it
          const positions = positionsOf(batch);
          batch.close();
          intake.settled(batch);
          for (const position of positions) model.settled.add(key(position));
          model.unsettled -= positions.length;
        };
        let ackable = 0;
        const check = (): void => {
          expect(intake.ackable).toBe(model.ackable);
          expect(intake.ackable).toBeGreaterThanOrEqual(ackable);
          expect(intake.isIdle).toBe(model.isIdle);
          ({ ackable } = intake);
        };
        const run = (messages: number): void => {
          const buffered = intake.rows;
          model.taken += feed.run(messages);
          model.unsettled += intake.rows - buffered;
        };

        for (const each of steps) {
          if (each.do === 'feed') run(each.messages);
          else if (each.do === 'cut') {
            if (intake.rows > 0) cut.push(intake.cut());
          } else if (each.do === 'settle') settle();
          else if (each.do === 'hurry') intake.timer.flushNow();
          else {
            const walEnd = Math.min(model.reached + each.ahead, model.nextCommit);
            intake.advanceTo(walEnd);
            if (model.isIdle) model.idleUpTo = Math.max(model.idleUpTo, walEnd);
          }
          check();
        }

        // all of it is settled in the end, and then all of it may be acknowledged
        for (;;) {
          run(Infinity);
          check();
          if (intake.rows === 0) break;
          cut.push(intake.cut());
        }
        while (cut.length > 0) {
          settle();
          check();
        }
        expect(feed.waiting).toBe(0);
        expect(intake.isIdle).toBe(true);
        expect(intake.ackable).toBeGreaterThanOrEqual(transactions.at(-1)?.endLsn ?? 0);
      },
    ),
    { numRuns: 400 },
  );
});

test('Intake holds back the end of a transaction that a batch cuts in two until its second half is settled', () => {
  const [t1, t2] = stream([[1], [1, 1, 1]]) as [WireTransaction, WireTransaction];
  const feed = new Feed({ maxRows: 2 }).transactions(t1, t2);
  feed.run();
  const first = feed.intake.cut();
  feed.run();
  const second = feed.intake.cut();
  feed.intake.settled(first);
  expect(feed.intake.ackable).toBe(t1.endLsn);
  feed.intake.settled(second);
  expect(feed.intake.ackable).toBe(t2.endLsn);
});

test('Intake lets a commit be acknowledged that comes after its rows are cut, or even settled', () => {
  const [t1] = stream([[1, 1]]) as [WireTransaction];
  for (const settleFirst of [false, true]) {
    const feed = new Feed({ maxRows: 2 }).transactions(t1);
    feed.run(3);
    const batch = feed.intake.cut();
    if (settleFirst) feed.intake.settled(batch);
    expect(feed.intake.ackable).toBe(0);
    feed.run();
    if (!settleFirst) feed.intake.settled(batch);
    expect(feed.intake.ackable).toBe(t1.endLsn);
  }
});

test('Intake holds back a transaction without events until the events before it are settled', () => {
  const feed = new Feed().transactions(...stream([[1], []]));
  feed.run();
  expect(feed.intake.ackable).toBe(0);
  const batch = feed.intake.cut();
  feed.queue(...wire.transaction({ commitLsn: 2000, endLsn: 2040, events: [] })).run();
  expect(feed.intake.ackable).toBe(0);
  feed.intake.settled(batch);
  expect(feed.intake.ackable).toBe(2040);
});
