/**
 * How much memory the streamer takes, and whether it stays alive, when ClickHouse is down and when events or transactions are
 * large. Compares RSS over time with the promise, watches the statuses that reach Postgres, and checks what arrived. Real
 * servers with fsync on. Exits with 1 if a promise is broken.
 *
 *   npm run bench:memory -- [--scenario name] [--seconds 60] [--rate 5000] [--events 5000000] [--idle 20]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client } from 'pg';
import { Servers } from './servers.ts';
import type { Source } from './source.ts';
import { Watch } from './watch.ts';
import type { Worker } from './worker.ts';

const MIB = 1024 * 1024;
/** The promised limit: this, plus two batches, plus three times the largest event. */
const BASE_MB = 120;
const DEFAULT_BATCH_BYTES = 64 * MIB;
/** Postgres and the streamer each give up the connection after 30 s of silence. */
const LONGEST_SILENCE_S = 30;
/** Events per transaction of the producers. */
const PRODUCED_TOGETHER = 100;
const CONTEXT_BYTES = 320;

const { values } = parseArgs({
  options: {
    scenario: { type: 'string' },
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '5000' },
    events: { type: 'string', default: '5000000' },
    idle: { type: 'string', default: '20' },
  },
});
const seconds = Number(values.seconds);

interface Run {
  readonly servers: Servers;
  readonly watch: Watch;
  /** Ends the streamer with SIGKILL and starts another. */
  readonly restart: () => Promise<void>;
}

interface Scenario {
  readonly name: string;
  readonly batchBytes?: number;
  readonly largestEvent: number;
  /** Commits the events and applies the faults; returns the number of events. */
  readonly play: (run: Run) => Promise<number>;
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'ClickHouse silent',
    largestEvent: 400,
    play: async (run) =>
      outage(run, {
        begin: () => run.servers.warehouse.server.pause(),
        end: () => run.servers.warehouse.server.resume(),
      }),
  },
  {
    name: 'ClickHouse gone',
    largestEvent: 400,
    play: async (run) =>
      outage(run, {
        begin: async () => run.servers.warehouse.server.kill(),
        end: async () => run.servers.warehouse.server.start(),
      }),
  },
  { name: 'one transaction', largestEvent: 400, play: oneTransaction },
  {
    name: 'sizes mixed',
    largestEvent: 16 * MIB,
    // spread evenly on a logarithmic scale from 2 bytes to 16 MiB
    play: async ({ servers }) => putSizes(servers, 2000, `2 * exp(ln(8388608) * ((i::bigint * 7919) % 2000) / 1999)`),
  },
  {
    name: 'events of 16 MiB',
    largestEvent: 16 * MIB,
    play: async ({ servers }) => putSizes(servers, 40, String(16 * MIB)),
  },
  {
    name: 'events larger than a batch',
    batchBytes: 64 * 1024,
    largestEvent: 20e6,
    play: async ({ servers }) => putSizes(servers, 60, 'CASE i % 3 WHEN 0 THEN 20000000 ELSE 300 END'),
  },
];

const chosen = SCENARIOS.filter(({ name }) => values.scenario === undefined || name === values.scenario);
if (chosen.length === 0)
  throw new Error(`no such scenario; choose one of: ${SCENARIOS.map(({ name }) => name).join(', ')}`);
let broken = 0;
for (const scenario of chosen) broken += await measure(scenario);
process.exitCode = broken > 0 ? 1 : 0;

/** Runs a scenario, prints what it measured, and returns the number of broken promises. */
async function measure({ name, batchBytes = DEFAULT_BATCH_BYTES, largestEvent, play }: Scenario): Promise<number> {
  console.log(`\n== ${name}`);
  const environment = { OUTBOX_BATCH_MAX_BYTES: String(batchBytes), OUTBOX_RETRY_MAX_MS: '5000' };
  await using servers = await Servers.start();
  let streamer: Worker = await servers.stream(environment);
  let streamers = 1;
  try {
    await using watch = await Watch.begin(servers.source.url, streamer.pid);
    const restart = async (): Promise<void> => {
      await streamer.end('SIGKILL');
      streamer = await servers.stream(environment);
      watch.follow(streamer.pid);
      streamers++;
    };
    await sleep(3000);
    const idleMb = watch.residentMb;
    const began = performance.now();
    watch.mark('begin');
    const events = await play({ servers, watch, restart });
    await untilDelivered(servers, events);
    const took = (performance.now() - began) / 1000;
    watch.mark('all delivered');
    await sleep(Number(values.idle) * 1000);
    const after = watch.residentMb;

    const promised = BASE_MB + (2 * batchBytes + 3 * largestEvent) / MIB;
    const difference = await differing(servers);
    const verdicts = [
      [`RSS at most ${promised.toFixed(0)} MB: peak ${watch.peakMb.toFixed(0)} MB`, watch.peakMb <= promised],
      [
        `each event arrived once and complete: ${difference ?? `${events.toLocaleString('en-US')} events`}`,
        difference === undefined,
      ],
      [
        `a status at least every ${LONGEST_SILENCE_S} s: longest gap ${watch.longestSilence.toFixed(1)} s`,
        watch.longestSilence < LONGEST_SILENCE_S,
      ],
      [`one attachment per streamer: ${watch.walsenders} for ${streamers}`, watch.walsenders === streamers],
    ] as const;
    console.log(`\n${watch.curve(Math.ceil(promised / 100) * 100)}\n`);
    for (const [verdict, isKept] of verdicts) console.log(`  ${isKept ? 'kept  ' : 'BROKEN'}  ${verdict}`);
    console.log(`  RSS ${idleMb.toFixed(0)} MB before, ${after.toFixed(0)} MB after ${values.idle} s idle`);
    console.log(
      `  ${took.toFixed(0)} s, of which the socket was paused for about ${watch.pausedSeconds} s; ${await insertsOf(servers)}`,
    );
    return verdicts.filter(([, isKept]) => !isKept).length;
  } finally {
    await streamer.end('SIGTERM');
  }
}

/** Producers commit at a fixed rate for ten seconds before the outage, during it, and for ten seconds after it. */
async function outage(
  { servers, watch }: Run,
  { begin, end }: { begin: () => void | Promise<void>; end: () => void | Promise<void> },
): Promise<number> {
  const over = new AbortController();
  const producers = produce(servers.source, Number(values.rate), over.signal);
  await sleep(10_000);
  await begin();
  watch.mark('ClickHouse down');
  await sleep(seconds * 1000);
  await end();
  watch.mark('ClickHouse back');
  await sleep(10_000);
  over.abort();
  const { events, slowestMs } = await producers;
  watch.mark('producers stop');
  console.log(
    `        producers: ${events.toLocaleString('en-US')} events, the slowest commit ${slowestMs.toFixed(0)} ms`,
  );
  return events;
}

async function oneTransaction({ servers, watch, restart }: Run): Promise<number> {
  const events = Number(values.events);
  await servers.source.commit(1, events, CONTEXT_BYTES);
  watch.mark('committed');
  while ((await servers.warehouse.count()) < events / 2) await sleep(200);
  await restart();
  watch.mark('killed, restarted');
  return events;
}

/** @param size SQL: bytes of the context of event i */
async function putSizes({ source: { db } }: Servers, events: number, size: string): Promise<number> {
  const together = 20;
  for (let from = 1; from <= events; from += together) {
    await db.query(
      `INSERT INTO outbox.event (event_type, environment, event_context)
       SELECT 'size', 'production', CASE WHEN size < 10 THEN '{}' ELSE '{"s":"' || substr(repeat(md5(i::text), size / 32 + 1), 1, size - 8) || '"}' END::json
         FROM (SELECT i, (${size})::int AS size FROM generate_series($1::int, $2::int) i) sizes`,
      [from, Math.min(events, from + together - 1)],
    );
  }
  return events;
}

async function produce(
  source: Source,
  rate: number,
  over: AbortSignal,
): Promise<{ events: number; slowestMs: number }> {
  const db = new Client(source.url);
  await db.connect();
  const began = performance.now();
  let events = 0;
  let slowestMs = 0;
  while (!over.aborted) {
    const asked = performance.now();
    await source.commit(1, PRODUCED_TOGETHER, CONTEXT_BYTES, 'outbox.event', db);
    slowestMs = Math.max(slowestMs, performance.now() - asked);
    events += PRODUCED_TOGETHER;
    await sleep(Math.max(0, began + (events / rate) * 1000 - performance.now()));
  }
  await db.end();
  return { events, slowestMs };
}

async function untilDelivered(servers: Servers, events: number): Promise<void> {
  while ((await servers.warehouse.count()) < events) await sleep(500);
}

/** Compares rows, distinct events and bytes of contexts on both servers; returns a difference, if there is one. */
async function differing(servers: Servers): Promise<string | undefined> {
  const { rows } = await servers.source.db.query<Record<string, number>>(
    `SELECT count(*)::float8 AS rows, count(DISTINCT event_id)::float8 AS events, sum(octet_length(event_context::text))::float8 AS bytes
       FROM outbox.event`,
  );
  const there = await servers.warehouse.select<Record<string, number>>(
    'SELECT count() AS rows, uniqExact(event_id) AS events, sum(length(event_context_text)) AS bytes FROM events',
  );
  const [wanted, got] = [JSON.stringify(rows[0]), JSON.stringify(there[0])];
  return wanted === got ? undefined : `${got} instead of ${wanted}`;
}

async function insertsOf(servers: Servers): Promise<string> {
  const inserts = await servers.warehouse.inserts();
  const rows = inserts.map((insert) => insert.rows).toSorted((a, b) => a - b);
  const largestMb = Math.max(...inserts.map(({ bytes }) => bytes)) / MIB;
  return `${inserts.length} inserts, the median one of ${rows[rows.length >> 1]} rows, the largest of ${rows.at(-1)} rows or ${largestMb.toFixed(1)} MB of contexts`;
}
