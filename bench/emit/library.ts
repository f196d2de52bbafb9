import { emitEvent, emitEvents } from '../../src/app/index.ts';
import type { Client } from 'pg';
import { spreadOf } from '../figures.ts';
import { contextOf } from '../notes.ts';
import { bareRow } from './variants.ts';

const CALLS = 100_000;
const ROUNDS = 5;

/** A transaction without a server, so that only the library's own work remains. */
const nowhere = {
  query: async (_text: string, values: unknown[]): Promise<void> => {
    for (const value of values) (value as { toPostgres?: () => unknown } | null)?.toPostgres?.();
  },
  getTransactionStatus: () => 'T',
};

/** CPU of `emitEvent`, and of building the same row by hand, in µs per call. Nothing is sent. */
export async function cpuMicroseconds(): Promise<{ emit: number; bare: number }> {
  const emit: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const emitted = await cost(async (i) =>
      emitEvent(nowhere, { type: 'order.placed', environment: 'production', context: contextOf(i) }),
    );
    const byHand = await cost(async (i) => nowhere.query('', bareRow(i)));
    // the first round only warms up
    if (round === 0) continue;
    emit.push(emitted);
    bare.push(byHand);
  }
  return { emit: spreadOf(emit)!.median, bare: spreadOf(bare)!.median };
}

async function cost(call: (i: number) => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  for (let i = 0; i < CALLS; i++) await call(i);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / CALLS;
}

/** Calls `emitEvents` with `count` events in an open transaction: median ms, and round trips of a call. */
export async function many(db: Client, count: number, times: number): Promise<{ ms: number; roundTrips: number }> {
  const events = Array.from({ length: count }, (_, i) => ({ type: 'order.placed', context: contextOf(i) }));
  const took: number[] = [];
  let roundTrips = 0;
  const tx = {
    query: async (text: string, values: unknown[]) => {
      roundTrips++;
      return db.query(text, values);
    },
    getTransactionStatus: () => db.getTransactionStatus(),
  };
  for (let time = 0; time < times; time++) {
    roundTrips = 0;
    await db.query('BEGIN');
    const began = performance.now();
    await emitEvents(tx, events);
    took.push(performance.now() - began);
    await db.query('COMMIT');
  }
  return { ms: spreadOf(took)!.median, roundTrips };
}
