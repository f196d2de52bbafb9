import type { Contestant, Turn } from '../contestant.ts';
import { CLICKHOUSE_JSON, CLICKHOUSE_TEXT } from '../contestants/clickhouse-alone.ts';
import { DIRECT } from '../contestants/direct.ts';
import { MATERIALIZED } from '../contestants/materialized.ts';
import { NAIVE_JSON, NAIVE_TEXT } from '../contestants/naive.ts';
import { POLLING_JSON, POLLING_TEXT } from '../contestants/polling.ts';
import {
  STREAMER_JSON,
  STREAMER_LINK,
  STREAMER_LINK_ZSTD,
  STREAMER_OBSERVED,
  STREAMER_TEXT,
  STREAMER_ZSTD,
} from '../contestants/streamer.ts';
import { TRANSACTIONAL_OUTBOX } from '../contestants/transactional-outbox.ts';
import { WALSENDER_EAGER, WALSENDER_PACED } from '../contestants/walsender.ts';
import type { Run } from '../figures.ts';
import { attempt, type Scale, type Scenario } from '../scenario.ts';
import { Source, type Shape } from '../source.ts';

const STREAMERS = [STREAMER_JSON, STREAMER_TEXT, WALSENDER_PACED];
const ALL = [
  ...STREAMERS,
  STREAMER_OBSERVED,
  WALSENDER_EAGER,
  CLICKHOUSE_JSON,
  CLICKHOUSE_TEXT,
  MATERIALIZED,
  POLLING_JSON,
  POLLING_TEXT,
  NAIVE_JSON,
  NAIVE_TEXT,
  TRANSACTIONAL_OUTBOX,
  DIRECT,
];

/** The scenario with limits and peers. */
export const MAIN = 'catch-up';
export const LARGE = 'catch-up of ten times as many';

export const CATCH_UPS: readonly Scenario[] = [
  catchUp(MAIN, '100 events a transaction, contexts of about 300 bytes', ALL, (events) => ({
    events,
    perTransaction: 100,
    bytes: 300,
  })),
  catchUp('catch-up of single events', 'one event a transaction, 300 bytes', STREAMERS, (events) => ({
    events,
    perTransaction: 1,
    bytes: 300,
  })),
  catchUp('catch-up of one transaction', 'all events in one transaction, 300 bytes', STREAMERS, (events) => ({
    events,
    perTransaction: events,
    bytes: 300,
  })),
  catchUp('catch-up of 100 bytes', '100 events a transaction, contexts of about 100 bytes', STREAMERS, (events) => ({
    events,
    perTransaction: 100,
    bytes: 100,
  })),
  catchUp('catch-up of 3 kB', '100 events a transaction, contexts of about 3,000 bytes', STREAMERS, (events) => ({
    events,
    perTransaction: 100,
    bytes: 3000,
  })),
  catchUp(
    'catch-up over a slow link',
    'like the first scenario, with and without compression, on this machine and over 100 Mbit/s',
    [STREAMER_JSON, STREAMER_ZSTD, STREAMER_LINK, STREAMER_LINK_ZSTD],
    (events) => ({ events, perTransaction: 100, bytes: 300 }),
  ),
  catchUp(LARGE, 'ten times as many events, otherwise like the first scenario', [STREAMER_JSON], (events) => ({
    events: events * 10,
    perTransaction: 100,
    bytes: 300,
  })),
];

function catchUp(
  name: string,
  about: string,
  contestants: readonly Contestant[],
  shapeOf: (events: number) => Shape,
): Scenario {
  return {
    name,
    about,
    contestants,
    run: (scale) => race(name, contestants, shapeOf(scale.events), scale),
  };
}

/** All readers of a table read the same WAL: each repetition of each has its slot before the backlog is committed. */
async function* race(
  name: string,
  contestants: readonly Contestant[],
  shape: Shape,
  scale: Scale,
): AsyncGenerator<Run> {
  const chosen = contestants.filter((contestant) => scale.wants(name, contestant.name));
  if (chosen.length === 0) return;
  await using turns = new AsyncDisposableStack();
  const order: { contestant: Contestant; repetition: number; turn: Turn }[] = [];
  let bytes = 0;
  // a server for each table, so that no reader has to skip WAL of the other table
  for (const readsPeerTable of [false, true]) {
    const here = chosen.filter((contestant) => isPeerReader(contestant) === readsPeerTable);
    if (here.length === 0) continue;
    const source = turns.use(await Source.start());
    const table = readsPeerTable ? 'peer.event' : 'outbox.event';
    for (const contestant of here) {
      for (let repetition = 1; repetition <= scale.repeat; repetition++) {
        order.push({ contestant, repetition, turn: turns.use(await contestant.prepare(source, shape)) });
      }
    }
    await source.addBacklog(shape, table);
    bytes = await source.averageBytes(table);
  }
  for (const { contestant, repetition, turn } of order.toSorted((a, b) => a.repetition - b.repetition)) {
    yield* attempt({ scenario: name, contestant: contestant.name, repetition }, async () => ({
      ...(await turn.measure()),
      more: { 'bytes of a context': bytes },
    }));
  }
}

function isPeerReader({ readsPeerTable = false }: Contestant): boolean {
  return readsPeerTable;
}
