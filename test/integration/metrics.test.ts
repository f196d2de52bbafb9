import { readFile } from 'node:fs/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import { parseLsn } from '../../src/lsn.ts';
import { glanceAtQuarantine } from '../../src/streamer/ledger/quarantine.ts';
import { METRICS } from '../../src/streamer/telemetry/metrics-table.ts';
import { prometheusName } from '../../src/streamer/telemetry/metrics.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { attributesOf, Collector } from '../support/collector.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { Scrape } from '../support/scrape.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const BATCH = 100;

let outbox: Outbox;
let collector: Collector;
let clickhouse: Proxy;
let streamer: Streamer;
let port: number;
/** Events that the tests have inserted so far. */
let filled = 0;

async function freePort(): Promise<number> {
  return onFreePort(0, async (free) => free);
}

beforeAll(async () => {
  outbox = await Outbox.create();
  collector = await Collector.start();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  clickhouse = proxy;
  port = await freePort();
  streamer = outbox.stream({
    ...collector.environment,
    CLICKHOUSE_URL: url,
    OUTBOX_HEALTH_PORT: String(port),
    OUTBOX_BATCH_MAX_ROWS: String(BATCH),
    OTEL_TRACES_EXPORTER: 'none',
    OTEL_METRIC_EXPORT_INTERVAL: '300',
  });
  await streamer.attached();
});

afterAll(async () => {
  await outbox?.[Symbol.asyncDispose]();
  await collector?.[Symbol.asyncDispose]();
  await clickhouse?.close();
});

async function fill(count: number, type?: string): Promise<void> {
  filled += count;
  await outbox.fill(count, type);
}

/** Waits for an answer of /metrics that meets the condition. */
async function scraped(what: string, isSo: (scrape: Scrape) => boolean): Promise<Scrape> {
  return eventually(what, async () => {
    const scrape = await Scrape.of(port);
    return isSo(scrape) ? scrape : undefined;
  });
}

const isDelivered = (scrape: Scrape): boolean =>
  scrape.value('outbox_events_total', { outcome: 'delivered' }) === filled &&
  scrape.value('outbox_lag_duration_seconds') === 0;

test('`/metrics` counts every event once and shows the ledger’s position', async () => {
  for (const count of [1, BATCH, 2 * BATCH + 7]) await fill(count);
  await outbox.untilDelivered(filled);
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  const { delivered_lsn: delivered, epoch } = await outbox.ledger();
  const scrape = await scraped('the whole of it', isDelivered);
  expect(scrape.type).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(scrape.value('outbox_freshness_seconds_count')).toBe(filled);
  expect(scrape.value('outbox_freshness_seconds_bucket', { le: '+Inf' })).toBe(filled);
  expect(scrape.value('outbox_freshness_seconds_sum')).toBeGreaterThan(0);
  const batches = scrape.value('outbox_batches_total')!;
  expect(batches).toBeGreaterThanOrEqual(4);
  expect(scrape.value('outbox_inserts_total', { outcome: 'done' })).toBe(batches);
  expect(scrape.value('db_client_operation_duration_seconds_count')).toBe(batches);
  for (const outcome of ['failed', 'refused']) expect(scrape.value('outbox_inserts_total', { outcome })).toBe(0);
  expect(scrape.value('outbox_delivered_size_bytes_total')).toBeGreaterThan(filled * 50);
  expect(scrape.value('outbox_ledger_position_bytes', { position: 'delivered' })).toBe(parseLsn(delivered!));
  expect(scrape.value('outbox_ledger_epoch')).toBe(Number(epoch));
  expect(scrape.value('outbox_slot_state', { state: 'reserved' })).toBe(1);
  expect(scrape.value('outbox_stream_state', { state: 'streaming' })).toBe(1);
  expect(scrape.value('outbox_clickhouse_writable')).toBe(1);
  expect(scrape.value('outbox_buffer_events')).toBe(0);
  expect(scrape.value('outbox_retries_total', { error_type: 'OUTBOX_CH_UNREACHABLE' })).toBe(0);
  expect(scrape.value('outbox_reconnects_total', { error_type: '_OTHER' })).toBe(0);
  const labelled = scrape.text.split('\n').filter((line) => line.startsWith('outbox_'));
  expect(labelled.filter((line) => !line.includes(`outbox_slot="${outbox.slot}"`))).toEqual([]);
});

test('`/metrics` serves every metric of the table, except those that this set-up cannot produce', async () => {
  // these need a limit of WAL, the first retention, which comes later, a replicated table, or a garbage collection, which comes by chance
  const absent =
    /^(outbox\.slot\.(safe_wal|runway)|outbox\.retention\..*|outbox\.clickhouse\.(replica.*|parts\.lost)|v8js\.gc\.duration)$/;
  const expected = METRICS.filter(({ name }) => !absent.test(name)).map(prometheusName);
  await scraped('all of them', ({ text }) => expected.every((name) => text.includes(`\n# TYPE ${name} `)));
});

test('the streamer pushes the same counts by OTLP', async () => {
  await eventually('an export', () => collector.metrics.length > 0);
  expect(collector.resource).toMatchObject({ 'service.name': 'pg-outbox-clickhouse', 'outbox.slot': outbox.slot });
  await eventually('all events', () => {
    const metric = (name: string) => collector.metrics.find((each) => each.name === name);
    const delivered = metric('outbox.events')?.sum?.dataPoints.find(
      (point) => attributesOf(point)['outcome'] === 'delivered',
    );
    const [freshness] = metric('outbox.freshness')?.histogram?.dataPoints ?? [];
    return delivered?.asDouble === filled && Number(freshness?.count) === filled;
  });
  expect(collector.exports.every(({ path }) => path === '/v1/metrics')).toBe(true);
});

test('`/metrics` shows growing lag, pauses and retries while ClickHouse hangs, and recovers with it', async () => {
  clickhouse.holdRequests();
  await fill(5 * BATCH);
  const lagging = await scraped('a lag', (scrape) => scrape.value('outbox_buffer_events') === 2 * BATCH);
  const lag = lagging.value('outbox_lag_duration_seconds')!;
  expect(lag).toBeGreaterThan(0);
  const later = await scraped(
    'a larger lag',
    (scrape) =>
      scrape.value('outbox_lag_duration_seconds')! > lag + 0.5 &&
      scrape.value('outbox_lag_size_bytes')! > 3 * BATCH * 50,
  );
  expect(later.value('outbox_pauses_total', { reason: 'buffer_full' })).toBeGreaterThanOrEqual(1);
  const full = later.value('outbox_full_time_seconds_total')!;
  expect(full).toBeGreaterThan(0);
  expect(later.value('outbox_events_total', { outcome: 'delivered' })).toBe(filled - 5 * BATCH);
  // the proxy drops its connections and accepts no new ones
  await clickhouse.close();
  const failing = await scraped('retries', (scrape) => scrape.value('outbox_clickhouse_writable') === 0);
  expect(failing.value('outbox_retries_total', { error_type: 'OUTBOX_CH_UNREACHABLE' })).toBeGreaterThanOrEqual(1);
  expect(failing.value('outbox_inserts_total', { outcome: 'failed' })).toBeGreaterThanOrEqual(1);
  clickhouse.release();
  await clickhouse.listen();
  const after = await scraped(
    'no lag',
    (scrape) => isDelivered(scrape) && scrape.value('outbox_clickhouse_writable') === 1,
  );
  expect(after.value('outbox_freshness_seconds_count')).toBe(filled);
  expect(after.value('outbox_full_time_seconds_total')).toBeGreaterThan(full);
  const idle = await scraped('nothing undelivered', (scrape) => scrape.value('outbox_lag_size_bytes')! < 10_000);
  expect(idle.value('outbox_stream_state', { state: 'streaming' })).toBe(1);
});

test('the streamer counts a reconnect each time its walsender is killed, and logs only the first as an error', async () => {
  const isStreaming = (scrape: Scrape): boolean => scrape.value('outbox_stream_state', { state: 'streaming' }) === 1;
  const reconnects = { error_type: 'OUTBOX_PG_UNREACHABLE' };
  const kill = async (count: number): Promise<void> => {
    await outbox.postgres.query(
      'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
      [outbox.slot],
    );
    await scraped('a reconnect', (scrape) => scrape.value('outbox_reconnects_total', reconnects) === count);
    await scraped('it streams again', isStreaming);
  };
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await kill(1);
  // the first session had delivered something, this one has not
  await kill(2);
  const levels = streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_PG_UNREACHABLE').map(({ level }) => level);
  expect(levels).toEqual(['error', 'debug']);
  await fill(1);
  const after = await scraped('it streams again', (scrape) => isStreaming(scrape) && isDelivered(scrape));
  expect(after.value('outbox_reconnects_total', reconnects)).toBe(2);
  expect(after.value('outbox_ledger_epoch')).toBe(Number((await outbox.ledger())['epoch']));
});

test('`/metrics` counts an event that ClickHouse rejects as quarantined, and its neighbours as delivered', async () => {
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT sound CHECK event_type != 'poison'" });
  await outbox.fill(1, 'poison');
  await fill(3);
  const scrape = await scraped(
    'it is set aside',
    (each) => isDelivered(each) && each.value('outbox_quarantine_events') === 1,
  );
  expect(scrape.value('outbox_events_total', { outcome: 'quarantined' })).toBe(1);
  expect(scrape.value('outbox_inserts_total', { outcome: 'refused' })).toBeGreaterThanOrEqual(1);
  expect(scrape.value('outbox_freshness_seconds_count')).toBe(filled);
  expect(scrape.value('outbox_clickhouse_parts')).toBeGreaterThanOrEqual(1);
});

test('`/metrics` of a standby shows its state and the slot, also after the holder was demoted to one', async () => {
  const other = await freePort();
  const standby = outbox.stream({ OUTBOX_HEALTH_PORT: String(other) });
  await standby.failure('OUTBOX_SLOT_BUSY');
  const scrape = await Scrape.of(other);
  expect(scrape.value('outbox_stream_state', { state: 'standing_by' })).toBe(1);
  expect(scrape.value('outbox_stream_state', { state: 'streaming' })).toBe(0);
  expect(scrape.value('outbox_slot_state', { state: 'reserved' })).toBe(1);
  expect(scrape.value('outbox_lag_duration_seconds')).toBeUndefined();
  expect(scrape.value('outbox_clickhouse_writable')).toBeUndefined();
  expect(scrape.value('outbox_lag_size_bytes')).toBeGreaterThanOrEqual(0);
  // the holder becomes a standby while an event is in quarantine
  expect((await Scrape.of(port)).value('outbox_quarantine_events')).toBe(1);
  streamer.signal('SIGSTOP');
  await standby.attached();
  streamer.signal('SIGCONT');
  const demoted = await scraped(
    'it stands by',
    (each) => each.value('outbox_stream_state', { state: 'standing_by' }) === 1,
  );
  for (const name of ['quarantine_events', 'clickhouse_parts', 'ledger_epoch', 'lag_duration_seconds', 'buffer_events'])
    expect(demoted.value(`outbox_${name}`)).toBeUndefined();
  expect(demoted.value('outbox_slot_state', { state: 'reserved' })).toBe(1);
  expect(demoted.value('outbox_slot_endangered')).toBe(0);
  expect((await Scrape.of(other)).value('outbox_ledger_epoch')).toBe(Number((await outbox.ledger())['epoch']));
  await standby.kill();
});

test('the count of quarantined events waits for no lock, and leaves the connection unchanged', async () => {
  const client = new Client(outbox.databaseUrl);
  await client.connect();
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  try {
    expect(await glanceAtQuarantine(db, outbox.slot)).toBe(1);
    await client.query('BEGIN');
    await client.query('LOCK TABLE outbox.quarantine');
    await expect(glanceAtQuarantine(db, outbox.slot)).rejects.toMatchObject({ sqlState: '55P03' });
    const { rows } = await db.query(
      "SELECT current_setting('lock_timeout') AS locks, txid_current_if_assigned() AS tx",
    );
    expect(rows).toEqual([{ locks: '0', tx: null }]);
    await client.query('COMMIT');
    expect(await glanceAtQuarantine(db, outbox.slot)).toBe(1);
  } finally {
    await Promise.all([client.end(), db.close()]);
  }
});

test('every SQL statement in docs/runbooks.md runs, and every command in it exists', async () => {
  const page = await readFile(new URL('../../docs/runbooks.md', import.meta.url), 'utf8');
  const blocks = [...page.matchAll(/^ *```sql\n *-- (Postgres|ClickHouse)\n([^`]+)```/gm)];
  expect(blocks).toHaveLength([...page.matchAll(/```sql/g)].length);
  expect(blocks.length).toBeGreaterThan(10);
  for (const [, server, sql = ''] of blocks) {
    if (server === 'Postgres') await outbox.postgres.query(sql);
    else await outbox.select(sql.trim().replace(/;$/, ''));
  }
  const { stdout: help } = await command(outbox, ['--help']).done;
  const commands = [...page.matchAll(/`pg-outbox-clickhouse (\w+)/g)].map(([, name]) => name!);
  expect(new Set(commands).size).toBeGreaterThan(3);
  expect(commands.filter((name) => !help.includes(`\n  ${name}`))).toEqual([]);
});
