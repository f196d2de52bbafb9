import { setTimeout as sleep } from 'node:timers/promises';
import type { Figures } from '../figures.ts';
import { playing, type Scale } from '../scenario.ts';
import { Servers } from '../servers.ts';

const OUTAGE_RATE = 5000;
const PER_TRANSACTION = 100;
/** Commits a second. */
const TURNS_PER_SECOND = 10;
/** How long the producer commits before the outage and after it. */
const AROUND_SECONDS = 5;

export const RESTART = 'SIGKILL in the middle of a backlog';
export const OUTAGE = 'ClickHouse killed, back later';

export const FAULTS = playing(
  'faults',
  'the streamer with all defaults, JSON typed, 300 bytes, 100 events a transaction',
  [
    {
      name: RESTART,
      about: 'when half of the backlog is delivered, the benchmark kills the streamer and starts another one at once',
      play: restart,
    },
    {
      name: OUTAGE,
      about: `a producer commits ${OUTAGE_RATE.toLocaleString('en-US')} events/s, also during the outage. The rate is that of delivering what waited: from the first row after ClickHouse’s return until at most one second’s events wait`,
      play: outage,
    },
  ],
);

async function restart({ events }: Scale): Promise<Figures> {
  await using servers = await Servers.start();
  const { source, warehouse } = servers;
  await source.addBacklog({ events, perTransaction: PER_TRANSACTION, bytes: 300 });
  await using first = await servers.stream();
  using meter = await servers.meter(first);
  const began = performance.now();
  await warehouse.until(Math.floor(events / 2), first);
  await first.end('SIGKILL');
  const killedAt = performance.now();
  await using second = await servers.stream();
  const attachedMs = performance.now() - killedAt;
  // rows that the first streamer sent may have become visible after the kill
  const before = await warehouse.count();
  meter.watch('streamer', second.pid);
  meter.watch('walsender', await source.walsender('outbox'), 'its birth');
  await warehouse.until(Math.min(events, before + 1), second);
  const firstRowMs = performance.now() - killedAt;
  await warehouse.until(events, second);
  const seconds = (performance.now() - began) / 1000;
  return {
    events,
    seconds,
    ...(await meter.read()),
    ...(await warehouse.written()),
    ...(await warehouse.verify()),
    more: { 'from the kill to attached again, ms': attachedMs, 'from the kill to the next row, ms': firstRowMs },
  };
}

async function outage({ outageSeconds }: Scale): Promise<Figures> {
  await using servers = await Servers.start();
  const { source, warehouse } = servers;
  await using streamer = await servers.stream();
  using meter = await servers.meter(streamer);
  const over = new AbortController();
  let made = 0;
  const producing = (async () => {
    const began = performance.now();
    while (!over.signal.aborted) {
      const due = ((performance.now() - began) / 1000) * OUTAGE_RATE - made;
      const transactions = Math.floor(Math.min(due, OUTAGE_RATE / TURNS_PER_SECOND) / PER_TRANSACTION);
      if (transactions > 0) await source.commit(transactions, PER_TRANSACTION, 300);
      made += transactions * PER_TRANSACTION;
      await sleep(transactions > 0 ? 0 : 1000 / TURNS_PER_SECOND / 2);
    }
  })();
  await sleep(AROUND_SECONDS * 1000);
  const before = await warehouse.written();
  await warehouse.server.kill();
  await sleep(outageSeconds * 1000);
  const waiting = made;
  await warehouse.server.start();
  meter.watch('ClickHouse', warehouse.pid, 'its birth');
  const backAt = performance.now();
  const present = await warehouse.count();
  await warehouse.until(1, streamer, async () => ((await warehouse.count()) > present ? 1 : 0));
  const firstRowAt = performance.now();
  let there = present;
  while (there < made - OUTAGE_RATE) {
    await sleep(25);
    there = await warehouse.count();
  }
  const seconds = (performance.now() - firstRowAt) / 1000;
  await sleep(AROUND_SECONDS * 1000);
  over.abort();
  await producing;
  await warehouse.until(made, streamer);
  const after = await warehouse.written();
  return {
    events: made,
    seconds,
    perSecond: (there - present) / seconds,
    ...(await meter.read()),
    inserts: before.inserts + after.inserts,
    parts: before.parts + after.parts,
    ...(await warehouse.verify()),
    more: {
      'waiting at the return, events': waiting - present,
      'from the return to the next row, ms': firstRowAt - backAt,
    },
  };
}
