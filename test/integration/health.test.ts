import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { onFreePort } from '../../src/embedded/ports.ts';
import type { ReadinessReport } from '../../src/streamer/observe/readiness.ts';
import { askHealth } from '../../src/streamer/telemetry/health.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

// each test waits until the streamer notices a fault, so they run concurrently

interface Served {
  readonly streamer: Streamer;
  readonly port: number;
  /** Waits until `/readyz` is ready (`'ready'`), or gives this code as a reason why it is not. */
  readonly says: (code: string) => Promise<ReadinessReport>;
}

async function serve(outbox: Outbox, environment: Record<string, string> = {}): Promise<Served> {
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({ OUTBOX_HEALTH_PORT: String(port), ...environment });
  const says = async (code: string): Promise<ReadinessReport> => {
    let last: ReadinessReport | undefined;
    return eventually(`${code} on /readyz`, async () => {
      last = await askHealth(port);
      if (last === undefined) return undefined;
      const isSaid = code === 'ready' ? last.ready : last.reasons.some((reason) => reason.code === code);
      return isSaid ? last : undefined;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}, but ${JSON.stringify(last)}\n${streamer.output}`);
    });
  };
  return { streamer, port, says };
}

test.concurrent('`/readyz` reports a half-open connection to Postgres within seconds, and is ready again by itself', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const { says, port } = await serve(outbox, { DATABASE_URL: url });
  await says('ready');
  proxy.isolate();
  const { ready, state } = await says('OUTBOX_PG_UNREACHABLE');
  expect({ ready, state }).toEqual({ ready: false, state: 'streaming' });
  expect(await (await fetch(`http://127.0.0.1:${port}/livez`)).json()).toEqual({ live: true });
  expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(503);
  proxy.release();
  proxy.cut();
  expect(await says('ready')).toMatchObject({ state: 'streaming', reasons: [] });
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await proxy.close();
});

test.concurrent('`/readyz` reports a half-open connection to ClickHouse within seconds while no event waits, and is ready again', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const { says } = await serve(outbox, { CLICKHOUSE_URL: url });
  await says('ready');
  proxy.isolate();
  expect(await says('OUTBOX_CH_UNREACHABLE')).toMatchObject({ ready: false, state: 'streaming' });
  proxy.release();
  proxy.cut();
  await says('ready');
  await proxy.close();
});

test.concurrent('`/readyz` reports late and stalled events when ClickHouse answers queries but not the insert', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const { says } = await serve(outbox, { CLICKHOUSE_URL: url, OUTBOX_READY_MAX_LAG_MS: '3000' });
  await says('ready');
  // only an insert sends so many bytes on one connection
  proxy.holdAnswers(1_000_000);
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context) SELECT 'large', json_build_object('text', (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 100) m)) FROM generate_series(1, 1500) n`,
  );
  const late = await says('OUTBOX_FLOW_LATE');
  expect(late.lag?.seconds).toBeGreaterThan(3);
  const { reasons, lag } = await says('OUTBOX_FLOW_STALLED');
  expect(lag?.bytes).toBeGreaterThan(500_000);
  expect(reasons.map(({ code }) => code)).not.toContain('OUTBOX_CH_UNREACHABLE');
  proxy.release();
  // other databases of the server write WAL as well, so the lag need not be zero
  await says('ready');
  expect(await outbox.delivered()).toEqual({ rows: 1500, events: 1500 });
  await proxy.close();
});

test.concurrent('`/readyz` reports a stall while the streamer waits for earlier inserts to end', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(1);
  // as after a failover: for more than a minute, an earlier insert may be under way
  await outbox.postgres.query('UPDATE outbox.stream SET read_back_below = pg_current_wal_lsn() WHERE slot_name = $1', [
    outbox.slot,
  ]);
  const { says } = await serve(outbox);
  expect(await says('OUTBOX_FLOW_STALLED')).toMatchObject({ ready: false, state: 'streaming' });
});

test.concurrent('`/readyz` reports a table that would duplicate events, before the next event and until it is fixed', async () => {
  await using outbox = await Outbox.create();
  const { says } = await serve(outbox);
  await says('ready');
  const window = async (blocks: number): Promise<unknown> =>
    outbox.clickhouse.command({
      query: `ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = ${blocks}`,
    });
  await window(0);
  expect(await says('OUTBOX_CH_TABLE_UNSUITABLE')).toMatchObject({ ready: false });
  await window(10_000);
  await says('ready');
});

test.concurrent('`/readyz` reports the slot and its growing lag while no session can stream', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('DROP PUBLICATION outbox');
  const { says } = await serve(outbox, { OUTBOX_RETRY_MAX_MS: '200' });
  const first = await says('OUTBOX_PUBLICATION_MISSING');
  expect(first).toMatchObject({ state: 'not streaming', slot: { walStatus: 'reserved', endangered: false } });
  await outbox.fill(10);
  await eventually('the lag grows', async () => {
    const { lag } = await says('OUTBOX_PUBLICATION_MISSING');
    return lag!.bytes > first.lag!.bytes;
  });
});

test.concurrent('`/readyz` reports a lost slot, until `repair` has replaced it', async () => {
  await using outbox = await Outbox.create();
  // `repair` waits for inserts that may be under way
  const quick = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
  const { port, says } = await serve(outbox, quick);
  await says('ready');
  await eventually('the slot is dropped', async () => {
    await outbox.postgres.query(
      'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active',
      [outbox.slot],
    );
    return outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]).then(
      () => true,
      () => false,
    );
  });
  await outbox.fill(3);
  expect(await says('OUTBOX_SLOT_MISSING')).toMatchObject({ ready: false, state: 'not streaming' });
  expect(await command(outbox, ['repair'], quick).done).toMatchObject({ code: 0 });
  // the streamer stands by while `repair` still holds the slot
  await eventually('it streams', async () => (await askHealth(port))?.state === 'streaming');
  expect(await says('ready')).toMatchObject({ state: 'streaming', reasons: [] });
  expect(await outbox.delivered()).toEqual({ rows: 3, events: 3 });
});

test.concurrent('`/readyz` of a standby is ready while it could deliver, and after it has taken over', async () => {
  await using outbox = await Outbox.create();
  const holder = await serve(outbox);
  await holder.says('ready');
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const standby = await serve(outbox, { CLICKHOUSE_URL: url });
  expect(await standby.says('ready')).toMatchObject({ state: 'standing by', reasons: [] });
  await proxy.close();
  expect(await standby.says('OUTBOX_CH_UNREACHABLE')).toMatchObject({ state: 'standing by' });
  await proxy.listen();
  await standby.says('ready');
  expect(await holder.streamer.stop()).toBe(0);
  await eventually('it streams', async () => (await askHealth(standby.port))?.state === 'streaming');
  await standby.says('ready');
  await standby.streamer.kill();
  await proxy.close();
});

test.concurrent('`healthcheck` reports readiness with OUTBOX_HEALTH_PORT alone', async () => {
  await using outbox = await Outbox.create();
  const { says, port, streamer } = await serve(outbox);
  const without = { DATABASE_URL: '', CLICKHOUSE_URL: '' };
  const check = async (healthPort: string) =>
    command(outbox, ['healthcheck'], { ...without, OUTBOX_HEALTH_PORT: healthPort }).done;
  await says('ready');
  const good = await check(String(port));
  expect(good.code).toBe(0);
  expect(JSON.parse(good.stdout)).toMatchObject({ ready: true, state: 'streaming' });
  await streamer.stop();
  const gone = await check(String(port));
  expect(gone.code).toBe(1);
  expect(JSON.parse(gone.stdout)).toEqual({ ready: false, detail: `no answer on port ${port}` });
  const off = await check('0');
  expect(off.code).toBe(0);
  expect(JSON.parse(off.stdout)).toMatchObject({ served: false });
  expect(await check('http')).toMatchObject({ code: 2, stderr: expect.stringContaining('OUTBOX_HEALTH_PORT must be') });
});

test.concurrent('`/metrics` is rendered once a second at most, and who says or reads nothing is cut off', async () => {
  await using outbox = await Outbox.create();
  const { says, port } = await serve(outbox);
  await says('ready');
  const idle = connect(port, '127.0.0.1');
  idle.on('error', () => undefined);
  const cutOff = once(idle, 'close');
  const bodies = new Set<string>();
  for (let asked = 0; asked < 60; asked++) bodies.add(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text());
  expect(bodies.size).toBeLessThanOrEqual(3);
  await cutOff;
});

test.concurrent('health is served on OUTBOX_HEALTH_HOST alone, and `healthcheck` asks there', async () => {
  await using outbox = await Outbox.create();
  const port = await onFreePort(0, async (free) => free);
  const environment = { OUTBOX_HEALTH_PORT: String(port), OUTBOX_HEALTH_HOST: '127.0.0.2' };
  outbox.stream(environment);
  await eventually('it is ready', async () => (await command(outbox, ['healthcheck'], environment).done).code === 0);
  const elsewhere = connect(port, '127.0.0.1');
  const [error] = (await once(elsewhere, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNREFUSED');
});

test.concurrent('probes are answered while others hold hundreds of connections and ask again and again on them', async () => {
  await using outbox = await Outbox.create();
  const { says, port } = await serve(outbox);
  await says('ready');
  const sockets = Array.from({ length: 300 }, () =>
    connect(port, '127.0.0.1')
      .on('error', () => undefined)
      .resume(),
  );
  const request = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
  await eventually('they are connected', async () => sockets.every(({ connecting }) => !connecting));
  // the first halves say nothing, the others would have thousands of answers
  for (const socket of sockets.slice(150)) socket.write(request.repeat(1000));
  for (let asked = 0; asked < 20; asked++) expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
  await eventually('all are closed', async () => sockets.every(({ destroyed, closed }) => destroyed || closed));
  for (const socket of sockets) expect(socket.bytesRead).toBeLessThan(1000);
});
