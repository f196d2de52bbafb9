/** Counts what speed depends on. The benchmarks measure speed itself. */
import { OutgoingMessage } from 'node:http';
import { expect, test, vi } from 'vitest';
import { encode } from '../../src/streamer/batch/native.ts';
import { INSERT_COLUMNS } from '../../src/streamer/clickhouse/columns.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { bytesIn, CALLED_BYTES, filled } from '../../src/streamer/path.fixture.ts';
import { SETTINGS } from '../../src/streamer/settings.ts';
import { Gateway } from '../support/gateway.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const EVENTS = 200_000;
const TRANSACTIONS = 2000;
/** The default limits are not below it. */
const BATCH_ROWS = 100_000;
const ROW_BYTES = 450;
/** The first batches grow to the limit: whatever came first, then 16,384 rows, twice as many, and twice as many again. */
const FIRST_BATCHES = 4;
const FIRST_ROWS = 7 * 16_384;
/** The goal for a backlog of events of 300 bytes. */
const INSERTS_PER_MILLION = 25;
/** Ledger writes that belong to no insert: takeover, last settling, two acknowledgements without events. */
const OTHER_WRITES = 4;
/** Enough to connect and to check every second or two. A status per transaction would be 78 kB, an UPDATE per transaction more. */
const WORDS_BYTES = 64 * 1024;

/** How often the ledger was written. A connection reports its counts when it ends, so this waits for the streamer's to end. */
async function ledgerWrites(outbox: Outbox): Promise<number> {
  await eventually('the streamer’s connections have ended', async () => {
    const { rows } = await outbox.postgres.query(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pg-outbox-clickhouse%'",
    );
    return rows[0].n === 0;
  });
  const { rows } = await outbox.postgres.query(
    "SELECT n_tup_upd::int AS n FROM pg_stat_user_tables WHERE relid = 'outbox.stream'::regclass",
  );
  return rows[0].n;
}

function mostInserts(events: number): number {
  return FIRST_BATCHES + Math.ceil((events - FIRST_ROWS) / BATCH_ROWS);
}

test('the streamer delivers a backlog with few inserts, few ledger writes and few bytes to Postgres', async () => {
  await using outbox = await Outbox.create();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  try {
    await outbox.postgres.query(
      `DO $$ BEGIN
         FOR i IN 1..${TRANSACTIONS} LOOP
           SET LOCAL synchronous_commit = off;
           INSERT INTO outbox.event (event_type, event_context)
             SELECT 'test.backlog', json_build_object('pad', repeat('x', 290)) FROM generate_series(1, ${EVENTS / TRANSACTIONS});
           COMMIT;
         END LOOP;
       END $$`,
    );
    const streamer = outbox.stream({
      DATABASE_URL: url,
      CLICKHOUSE_URL: gateway.url,
      OUTBOX_BATCH_MAX_ROWS: String(BATCH_ROWS),
      // only the first rows go out before a batch is full, so a slow machine makes no more inserts than a fast one; the rest goes
      // out at the end of the backlog
      OUTBOX_FLUSH_INTERVAL_MS: '60000',
    });
    await outbox.untilDelivered(EVENTS);
    expect(await streamer.stop()).toBe(0);
  } finally {
    await proxy.close();
  }
  expect(SETTINGS.OUTBOX_BATCH_MAX_ROWS.default).toBeGreaterThanOrEqual(BATCH_ROWS);
  expect(SETTINGS.OUTBOX_BATCH_MAX_BYTES.default).toBeGreaterThanOrEqual(BATCH_ROWS * ROW_BYTES);
  expect(gateway.inserts.length).toBeGreaterThanOrEqual(1);
  expect(gateway.inserts.length).toBeLessThanOrEqual(mostInserts(EVENTS));
  expect(mostInserts(1_000_000)).toBeLessThanOrEqual(INSERTS_PER_MILLION);
  const batches = await outbox.select<{ rows: number }>(
    'SELECT count() AS rows FROM events GROUP BY delivered_at ORDER BY delivered_at',
  );
  // the first rows went out at once; from then on each full batch let the next one grow
  const sizes = batches.map(({ rows }) => rows);
  expect(sizes[0]).toBeLessThanOrEqual(16_384);
  expect(sizes).toEqual(expect.arrayContaining([1, 2, 4].map((times) => times * 16_384)));
  const writes = await ledgerWrites(outbox);
  // takeover, intent, settling
  expect(writes).toBeGreaterThanOrEqual(3);
  expect(writes).toBeLessThanOrEqual(gateway.inserts.length + OTHER_WRITES);
  expect(proxy.requestBytes).toBeLessThan(WORDS_BYTES);
});

test('the streamer makes at most one insert a flush interval of live events, and one ledger write an insert', async () => {
  await using outbox = await Outbox.create();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  const flushMs = 200;
  const streamer = outbox.stream({ CLICKHOUSE_URL: gateway.url, OUTBOX_FLUSH_INTERVAL_MS: String(flushMs) });
  await streamer.attached();
  const began = performance.now();
  while (gateway.inserts.length < 10) await outbox.fill(1);
  const inserts = gateway.inserts.length;
  // the slower the machine, the longer it took
  const ms = performance.now() - began;
  expect(inserts).toBeLessThanOrEqual(Math.floor(ms / flushMs) + 1);
  expect(await streamer.stop()).toBe(0);
  // an intent settles what came before it, unless that has waited for a second
  const most = gateway.inserts.length + Math.floor(ms / 1000) + OTHER_WRITES;
  expect(await ledgerWrites(outbox)).toBeLessThanOrEqual(most);
});

test('the streamer sends an event that comes after a quiet moment long before its flush interval is over', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_FLUSH_INTERVAL_MS: '60000' });
  await streamer.attached();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await outbox.fill(1);
  const [first, second] = await eventually('the second waits for its interval', async () => {
    const { rows } = await outbox.postgres.query<{ waiting: boolean }>(
      "SELECT application_name ~ ' [0-9]+$' AS waiting FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pg-outbox-clickhouse %'",
    );
    return rows.some(({ waiting }) => waiting) && [await outbox.delivered(), 'waits'];
  });
  expect([first, second]).toEqual([{ rows: 1, events: 1 }, 'waits']);
  expect(await streamer.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 2, events: 2 });
});

test('the client writes the batch’s own memory to ClickHouse’s socket, also when it repeats the insert', async () => {
  await using outbox = await Outbox.create();
  const clickhouse = new ClickHouse(outbox.clickhouseUrl, 30_000);
  const { batch, memory } = filled(20);
  const constants = { source: '1/outbox', deliveredAtMs: Date.now(), origin: 'stream' };
  const ownIn = (chunks: Iterable<unknown>): number =>
    bytesIn([...chunks].filter((chunk) => chunk instanceof Uint8Array).filter(({ buffer }) => memory.has(buffer)));
  const own = ownIn(encode(batch, constants));
  expect(own).toBeGreaterThan(20 * CALLED_BYTES);
  const write = vi.spyOn(OutgoingMessage.prototype, 'write');
  try {
    for (let attempt = 1; attempt <= 2; attempt++) {
      const insert = {
        query: `INSERT INTO events (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
        parameters: {},
        rows: batch.rows,
        token: 'token',
        queryId: `${outbox.slot}/${attempt}`,
        body: encode(batch, constants),
      };
      await clickhouse.insert(insert, new AbortController().signal);
      expect(ownIn(write.mock.calls.map(([chunk]) => chunk as unknown))).toBe(attempt * own);
    }
  } finally {
    write.mockRestore();
    await clickhouse.close();
  }
  const [{ n } = { n: 0 }] = await outbox.select<{ n: number }>('SELECT count() AS n FROM events');
  expect(n).toBe(batch.rows);
});
