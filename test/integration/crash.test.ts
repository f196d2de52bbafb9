import { expect, test } from 'vitest';
import { formatLsn } from '../../src/lsn.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const COUNT = 500;

/** Starts a streamer that reaches ClickHouse through a proxy. It is attached and ready to insert; the test's events come later. */
async function begin(
  outbox: Outbox,
  environment: Record<string, string> = {},
): Promise<{ proxy: Proxy; streamer: Streamer }> {
  await outbox.addView();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, ...environment });
  await streamer.attached();
  // after a first event the streamer has checked the table, and its connection to ClickHouse is open
  await outbox.fill(1, 'test.first');
  await outbox.untilDelivered(1);
  await eventually('the first event is settled', async () => (await outbox.ledger())['pending_token'] === null);
  return { proxy, streamer };
}

async function pendingToken(outbox: Outbox): Promise<string> {
  return eventually('an intent', async () => (await outbox.ledger())['pending_token']);
}

/** A successor delivers the rest; then the table and the view have every event exactly once. */
async function expectExactlyOnce(outbox: Outbox, count = COUNT): Promise<void> {
  const successor = outbox.stream();
  await outbox.untilDelivered(count + 1);
  const end = await outbox.walEnd();
  await eventually('all is delivered', async () => outbox.applied(end));
  expect(await successor.stop()).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: count + 1, events: count + 1 });
  expect(await outbox.select("SELECT sum(n) AS n FROM counts WHERE event_type = 'test.filled'")).toEqual([
    { n: count },
  ]);
  const { rows } = await outbox.postgres.query(
    'SELECT event_id, event_context::text FROM outbox.event ORDER BY event_id',
  );
  const stored = await outbox.select<{ id: string; text: string }>(
    'SELECT event_id AS id, event_context_text AS text FROM events',
  );
  const texts = new Map(stored.map(({ id, text }) => [id, text]));
  for (const row of rows) expect(texts.get(row.event_id)).toBe(row.event_context);
}

test('the streamer delivers each event once after SIGKILL between intent and insert (invariants 3 and 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await begin(outbox);
  proxy.holdRequests();
  await outbox.fill(COUNT);
  const token = await pendingToken(outbox);
  expect(await outbox.delivered()).toEqual({ rows: 1, events: 1 });
  await streamer.kill();
  await proxy.close();
  expect((await outbox.ledger())['pending_token']).toBe(token);
  await expectExactlyOnce(outbox);
});

test('the streamer delivers each event once after SIGKILL in the middle of an insert (invariants 3 and 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await begin(outbox);
  proxy.holdRequests(20_000);
  const before = proxy.requestBytes;
  await outbox.fill(COUNT);
  await pendingToken(outbox);
  await eventually('a part of the insert has passed', () => proxy.requestBytes - before >= 20_000);
  await streamer.kill();
  await proxy.close();
  await expectExactlyOnce(outbox);
});

test('the streamer acknowledges nothing before the insert’s answer, and delivers once after SIGKILL (invariants 2 and 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await begin(outbox);
  proxy.holdAnswers();
  await outbox.fill(COUNT);
  const end = await outbox.walEnd();
  const token = await pendingToken(outbox);
  await outbox.untilDelivered(COUNT + 1);
  expect(await outbox.confirmed(end)).toBe(false);
  expect((await outbox.ledger())['pending_token']).toBe(token);
  await streamer.kill();
  await proxy.close();
  expect(await outbox.confirmed(end)).toBe(false);
  await expectExactlyOnce(outbox);
});

test('the ledger alone prevents duplicates after SIGKILL between settle and acknowledgement', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const { proxy: sink, streamer: first } = await begin(outbox);
  await first.stop();
  await sink.close();
  const streamer = outbox.stream({ DATABASE_URL: url });
  await streamer.attached();
  const { delivered_lsn: before } = await outbox.ledger();
  await outbox.fill(COUNT);
  await eventually('the batch is settled', async () => {
    const { delivered_lsn: lsn, pending_token: token } = await outbox.ledger();
    return lsn !== before && token === null;
  });
  await streamer.kill();
  await proxy.close();
  await expectExactlyOnce(outbox);
});

test('the streamer repeats an unanswered insert under one token, and its events arrive once (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await begin(outbox);
  // the proxy passes the answers to queries, and holds those to inserts
  proxy.holdAnswersToInserts();
  proxy.cut();
  let passed = proxy.requestBytes;
  await outbox.fill(COUNT);
  // the first rows may go out before the others have come
  await eventually('the insert of the others is sent', () => proxy.requestBytes - passed > 20_000);
  const token = await pendingToken(outbox);
  for (let i = 0; i < 5; i++) {
    await eventually('the insert is sent', () => proxy.requestBytes - passed > 20_000);
    await outbox.untilDelivered(COUNT + 1);
    const seen = streamer.logs.length;
    passed = proxy.requestBytes;
    proxy.cut();
    await eventually('its answer is missed', () =>
      streamer.logs.slice(seen).some(({ err }) => err?.code === 'OUTBOX_CH_UNREACHABLE'),
    );
    expect((await outbox.ledger())['pending_token']).toBe(token);
  }
  proxy.release();
  await eventually('the insert is settled', async () => (await outbox.ledger())['pending_token'] === null);
  await streamer.kill();
  await proxy.close();
  await expectExactlyOnce(outbox);
});

test('the streamer acknowledges no part of a transaction that SIGKILL interrupts between two batches (invariant 2)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, streamer } = await begin(outbox, { OUTBOX_BATCH_MAX_ROWS: '200' });
  // the proxy passes the first of three inserts and holds the second
  proxy.holdRequests(45_000);
  await outbox.fill(COUNT);
  await eventually('the second intent settles the first batch', async () => {
    const { delivered_seq: delivered, pending_seq: pending } = await outbox.ledger();
    return delivered === '200' && pending === '400';
  });
  await eventually('the second insert sticks', () => proxy.isHolding);
  await streamer.kill();
  await proxy.close();
  // WAL of other databases before it may be acknowledged
  const [commit] = await outbox.select<{ lsn: number }>('SELECT max(lsn) AS lsn FROM events');
  expect(await outbox.confirmed(formatLsn(commit!.lsn))).toBe(false);
  expect(await outbox.delivered()).toEqual({ rows: 201, events: 201 });
  await expectExactlyOnce(outbox);
});
