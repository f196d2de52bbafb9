import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import type {
  Charts,
  EventDetail,
  Flow,
  Found,
  Health,
  Quarantine,
  Session,
} from '../../src/streamer/commands/console/api.ts';
import { LIMITS, withinLimits } from '../../src/streamer/commands/console/limits.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { command } from '../support/command.ts';
import { ConsoleProcess, TOKEN, type Asking } from '../support/console.ts';
import { Gateway } from '../support/gateway.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const ROOT = join(import.meta.dirname, '../..');
const CANARY = 'canary-4111111111111111';
const WITH_TOKEN = { OUTBOX_CONSOLE_TOKEN: TOKEN };
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

async function emit(
  outbox: Outbox,
  type: string,
  subject: string,
  context: object,
  trace = '4bf92f3577b34da6a3ce929d0e0e4736',
): Promise<void> {
  await outbox.postgres.query(
    `SELECT outbox.emit($1, $2::json, subject => $3, environment => 'test', traceparent => $4)`,
    [type, JSON.stringify(context), subject, `00-${trace}-00f067aa0ba902b7-01`],
  );
}

describe('a console without a token', () => {
  test('answers its own page alone, and changes nothing', async () => {
    await using outbox = await Outbox.create();
    await using console = await ConsoleProcess.start(outbox);
    const own = console.url.slice(0, -1);
    const status = async (path: string, asking: Asking): Promise<number> => (await console.ask(path, asking)).status;

    const page = await console.ask('/');
    expect(page.status).toBe(200);
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'; (?!.*unsafe)/);
    expect(page.headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
    expect(await console.get<Session>('/api/session')).toMatchObject({
      slots: [outbox.slot],
      readOnly: 'OUTBOX_CONSOLE_TOKEN is not set',
    });

    for (const path of ['/', '/api/session'])
      expect(await status(path, { headers: { host: 'rebound.example' } })).toBe(421);
    expect(await status('/api/session', { headers: { 'sec-fetch-site': 'cross-site' } })).toBe(403);
    expect(await status('/api/session', { headers: { origin: 'http://evil.example' } })).toBe(403);
    // of another port of this host
    expect(await status('/api/session', { headers: { origin: 'http://127.0.0.1:1' } })).toBe(403);
    expect(await status('/api/nothing', {})).toBe(404);
    expect(await status('/../../package.json', {})).toBe(404);
    const change = { method: 'POST', body: { ids: ['1'] } };
    expect(await status('/api/quarantine/retry', change)).toBe(403);
    expect(await status('/api/quarantine/retry', { ...change, headers: { origin: 'http://evil.example' } })).toBe(403);
    const asOwn = await console.ask('/api/quarantine/retry', { ...change, headers: { origin: own } });
    expect([asOwn.status, asOwn.body]).toEqual([403, expect.stringContaining('OUTBOX_CONSOLE_READ_ONLY')]);
  });

  test('does not start on an address that other hosts reach', async () => {
    await using outbox = await Outbox.create({ migrated: false });
    const { code, stderr } = await command(outbox, ['console'], { OUTBOX_CONSOLE_HOST: '*' }).done;
    expect(code).toBe(2);
    expect(stderr).toContain('OUTBOX_CONSOLE_TOKEN is missing: other hosts can reach the console on the address *');
  });
});

test.concurrent('a console with a token answers who has it, and refuses an address after ten wrong ones', async () => {
  await using outbox = await Outbox.create();
  await using console = await ConsoleProcess.start(outbox, { ...WITH_TOKEN, OUTBOX_CONSOLE_HOST: '0.0.0.0' });
  const url = new URL(console.url);
  const ask = async (token: string | undefined, from = '127.0.0.1'): Promise<number> =>
    (
      await console.ask(`http://127.0.0.1:${url.port}/api/session`, {
        from,
        ...(token === undefined ? {} : { headers: bearer(token) }),
      })
    ).status;
  expect(await ask(undefined)).toBe(401);
  expect(await ask(TOKEN)).toBe(200);
  for (let wrong = 0; wrong < 10; wrong++) expect(await ask(`${TOKEN}${wrong}`)).toBe(401);
  expect(await ask(TOKEN)).toBe(429);
  // another host's reader is not kept out by it
  expect(await ask(TOKEN, '127.0.0.2')).toBe(200);
  const warned = console.logs.filter(({ level }) => level === 'warn');
  expect(warned.map(({ address, msg }) => [address, msg])).toEqual(
    Array.from({ length: 10 }, () => ['127.0.0.1', 'a wrong token was given to the console']),
  );
  expect(JSON.stringify(console.logs)).not.toContain(TOKEN);
});

test.concurrent('searches of many readers wait for their turn, and hold up no other page', async () => {
  await using outbox = await Outbox.create();
  outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  const environment = { CLICKHOUSE_URL: gateway.url, OUTBOX_CONSOLE_PAYLOADS: 'on' };
  await using console = await ConsoleProcess.start(outbox, environment);
  const { promise: until, resolve: release } = Promise.withResolvers<void>();
  gateway.keeping = { matches: /positionCaseInsensitive/, until };
  const searches = Array.from({ length: 8 }, async (_, n) => console.ask(`/api/events?text=needle${n}`));
  await eventually('some wait for ClickHouse', () => gateway.kept >= 2);
  const { report, table } = await console.get<Flow>('/api/flow');
  expect(report).toMatchObject({ flowing: true, reasons: [] });
  expect(table).toMatchObject({ rows: 10 });
  expect(gateway.kept).toBe(4);
  release();
  expect((await Promise.all(searches)).map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 200));
});

test.concurrent('a reader finds events by all that they have, page by page, and each with its place', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await using console = await ConsoleProcess.start(outbox, { OUTBOX_CONSOLE_PAYLOADS: 'on' });
  await outbox.fill(120);
  await emit(outbox, 'order.placed', 'order:7', { customer: { id: 42 }, note: 'a needle in it' });
  await emit(outbox, 'order.paid', 'order:7', { customer: { id: 43 } }, '5bf92f3577b34da6a3ce929d0e0e4736');
  await outbox.untilDelivered(122);

  const search = async (query: string): Promise<Found> => console.get<Found>(`/api/events?${query}`);
  const types = async (query: string): Promise<string[]> => (await search(query)).events.map(({ type }) => type);
  expect(await types('subject=order:7&from=1h')).toEqual(['order.paid', 'order.placed']);
  expect(await types('subject=order:7&from=1h&order=oldest')).toEqual(['order.placed', 'order.paid']);
  expect(await types('type=order.paid')).toEqual(['order.paid']);
  expect(await types('environment=test&to=2001-01-01')).toEqual([]);
  expect(await types('trace=5BF92F3577B34DA6A3CE929D0E0E4736')).toEqual(['order.paid']);
  expect(await types('text=NEEDLE')).toEqual(['order.placed']);
  expect(await types('path=customer.id&value=43')).toEqual(['order.paid']);
  // no name and no value becomes SQL
  expect(await types(`path=${encodeURIComponent("a'), sleep(3) --")}&value=1`)).toEqual([]);
  expect((await console.ask('/api/events?id=no-uuid')).status).toBe(400);

  const seen = new Set<string>();
  let found = await search('type=test.filled');
  for (; ; found = await search(`type=test.filled&cursor=${found.events.at(-1)!.cursor}`)) {
    for (const { id } of found.events) seen.add(id);
    if (!found.hasMore) break;
  }
  expect(seen.size).toBe(120);
  // what is shown to be copied is what was asked
  expect((await outbox.select(found.sql)).length).toBe(20);

  const [one] = (await search('type=order.placed')).events;
  const { id, source, lsn, seq } = one!;
  const query = new URLSearchParams({ id, source, lsn, seq: String(seq) });
  const event = await console.get<EventDetail>(`/api/event?${query.toString()}`);
  expect(event.columns).toMatchObject({
    event_id: id,
    subject: 'order:7',
    trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  });
  expect(event.context).toMatchObject({ text: '{"customer":{"id":42},"note":"a needle in it"}', bytes: 46 });
  expect(JSON.parse(event.context.typed!)).toEqual({ customer: { id: 42 }, note: 'a needle in it' });
  expect(event.context.paths).toContainEqual({ path: 'customer.id', type: 'Int64' });
  expect(event.batch!.rows).toBeGreaterThan(0);
  expect([event.before?.type, event.behind?.type]).toEqual(['test.filled', 'order.paid']);
  expect(event.sql.join('\n')).not.toContain('{');
  await streamer.stop();
});

test.concurrent('without OUTBOX_CONSOLE_PAYLOADS no answer and no log holds what events contain', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await using console = await ConsoleProcess.start(outbox, { ...WITH_TOKEN, LOG_LEVEL: 'trace' });
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT sound CHECK event_type != 'poison'" });
  await emit(outbox, 'poison', 'order:7', { card: CANARY });
  await emit(outbox, 'good', 'order:7', { card: CANARY });
  await outbox.untilDelivered(1);
  await eventually('it is in quarantine', async () => (await console.get<Quarantine>('/api/quarantine')).total === 1);
  const [event] = (await console.get<Found>('/api/events')).events;
  const { id, source, lsn, seq } = event!;
  const key = new URLSearchParams({ id, source, lsn, seq: String(seq) }).toString();
  const [group] = (await console.get<Quarantine>('/api/quarantine')).groups;
  const paths = [
    'session',
    'flow',
    'charts',
    'events',
    `event?${key}`,
    'quarantine',
    `quarantine/event?id=${group!.ids[0]}`,
    'health',
    'settings',
    'verify',
  ];
  for (const path of paths) {
    const { status, body } = await console.ask(`/api/${path}`, { headers: bearer(TOKEN) });
    expect([path, status]).toEqual([path, 200]);
    expect(body).not.toContain(CANARY);
  }
  const { context } = await console.get<EventDetail>(`/api/event?${key}`);
  expect(context).toEqual({ text: null, typed: null, bytes: 34, paths: [{ path: 'card', type: 'String' }] });
  for (const asked of ['text=4111', 'path=card&value=1'])
    expect(await console.ask(`/api/events?${asked}`, { headers: bearer(TOKEN) })).toMatchObject({
      status: 403,
      body: expect.stringContaining('OUTBOX_CONSOLE_PAYLOADS_OFF'),
    });
  const retried = await console.ask('/api/quarantine/retry', {
    method: 'POST',
    body: { ids: group!.ids },
    headers: { ...bearer(TOKEN), origin: console.url.slice(0, -1) },
  });
  expect(JSON.parse(retried.body)).toMatchObject({ outcome: { delivered: 0, refused: 1 } });
  expect(retried.body + JSON.stringify(console.logs)).not.toContain(CANARY);
  await streamer.stop();
});

test.concurrent('a console whose roles may only read shows everything and offers no changes', async () => {
  const grants = (await readFile(join(ROOT, 'migrations/clickhouse/roles.sql'), 'utf8'))
    .split('\n')
    .flatMap((line) => /^(GRANT .* ON .*) TO outbox_(?:console|reader);$/.exec(line)?.[1] ?? [])
    .map((grant) => grant.replace(/ ON (events|\*)$/, ' ON reading.$1'));
  await using clickhouse = await startClickHouse({ users: [{ user: 'reader', password: 'reads', grants }] });
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url, database: `reading` });
  await outbox.postgres.query(await readFile(join(ROOT, 'migrations/postgres/roles.sql'), 'utf8'));
  await outbox.postgres.query("ALTER ROLE outbox_console PASSWORD 'reads'");
  const login = (url: string, username: string): string =>
    Object.assign(new URL(url), { username, password: 'reads' }).href;
  const urls = {
    databaseUrl: login(outbox.databaseUrl, 'outbox_console'),
    clickhouseUrl: login(outbox.clickhouseUrl, 'reader'),
  };
  const streamer = outbox.stream();
  await outbox.fill(3);
  await outbox.untilDelivered(3);
  await using console = await ConsoleProcess.start({ ...urls, slot: outbox.slot }, WITH_TOKEN);

  expect((await console.get<Session>('/api/session')).readOnly).toBe(
    'the role outbox_console may only read in Postgres',
  );
  const flow = await console.get<Flow>('/api/flow');
  expect(flow).toMatchObject({ told: [], report: { flowing: true, quarantined: 0 }, table: { rows: 3 } });
  expect(flow.keptBytes).toBeGreaterThan(0);
  const charts = await console.get<Charts>('/api/charts');
  expect(charts).toMatchObject({ failure: null, types: [{ type: 'test.filled' }] });
  expect((await console.get<Found>('/api/events')).events).toHaveLength(3);
  const health = await console.get<Health>('/api/health');
  expect(health.findings.filter(({ level }) => level === 'error')).toEqual([]);
  expect(health.left).toContain('postgres.privileges');
  const origin = console.url.slice(0, -1);
  const started = await console.ask('/api/verify?from=1h', {
    method: 'POST',
    body: {},
    headers: { ...bearer(TOKEN), origin },
  });
  expect(started.status).toBe(200);
  const runs = await eventually('it is verified', async () => {
    const [run] = await console.get<{ report: object | null; failure: object | null }[]>('/api/verify');
    return (run?.report ?? run?.failure) != null && run;
  });
  expect(runs).toMatchObject({ failure: null, report: { identical: true, postgres: 3, clickhouse: 3 } });
  for (const action of ['retry', 'discard'])
    expect(
      await console.ask(`/api/quarantine/${action}`, {
        method: 'POST',
        body: { ids: ['1'] },
        headers: { ...bearer(TOKEN), origin },
      }),
    ).toMatchObject({ status: 403, body: expect.stringContaining('OUTBOX_CONSOLE_READ_ONLY') });
  await streamer.stop();
});

test.concurrent('each slot of the ledger has a flow of its own, and each outbox a console', async () => {
  await using outbox = await Outbox.create();
  const other = `${outbox.slot}_b`;
  await migratePostgres(outbox.databaseUrl, other, () => undefined);
  const streamer = outbox.stream();
  await streamer.attached();
  await using console = await ConsoleProcess.start(outbox);
  expect((await console.get<Session>('/api/session')).slots).toEqual([outbox.slot, other]);
  expect((await console.get<Flow>(`/api/flow?slot=${other}`)).told).toMatchObject([
    { code: 'OUTBOX_FLOW_NO_STREAMER' },
  ]);
  expect((await console.get<Flow>('/api/flow')).report).toMatchObject({ slotName: outbox.slot, streamer: {} });
  expect((await console.ask('/api/flow?slot=nobody')).status).toBe(404);

  // another outbox of the database has a console of its own
  const schema = outbox.slot.replace('t_', 'c_');
  const own = { OUTBOX_SCHEMA: schema, OUTBOX_SLOT: '' };
  const urls = { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl };
  await migratePostgres(readConfig({ ...urls, ...own }), schema, () => undefined);
  await using another = await ConsoleProcess.start(outbox, own);
  expect(await another.get<Session>('/api/session')).toMatchObject({
    database: `${outbox.slot}, ${schema}`,
    slots: [schema],
  });
  const flow = await another.get<Flow>('/api/flow');
  expect(flow).toMatchObject({ report: { quarantined: 0 }, told: [{ code: 'OUTBOX_FLOW_NO_STREAMER' }] });
  expect(flow.keptBytes).toBeGreaterThanOrEqual(0);
  expect(await another.get<Quarantine>('/api/quarantine')).toEqual({ groups: [], total: 0 });
  for (const slot of [other, schema]) await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
  await streamer.stop();
});

test.concurrent('a question ends in ClickHouse when its reader leaves, and when it would read too much', async () => {
  await using outbox = await Outbox.create();
  const clickhouse = new ClickHouse(outbox.clickhouseUrl, 60_000);
  const mark = `left-${outbox.slot}`;
  const running = async (): Promise<number> =>
    (
      await outbox.select<{ n: number }>(
        `SELECT count() AS n FROM system.processes WHERE query LIKE '%left-${outbox.slot}%' AND query NOT LIKE '%processes%'`,
      )
    )[0]!.n;
  const leaving = new AbortController();
  const limits = { ...LIMITS, rowsRead: 1e15, seconds: 60 };
  const asked = clickhouse.selectWithin(
    limits,
    `SELECT '${mark}', count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1`,
    {},
    leaving.signal,
  );
  const failed = asked.catch((error: unknown) => error);
  await eventually('it runs', async () => (await running()) === 1);
  leaving.abort();
  expect(await failed).toMatchObject({ code: 'OUTBOX_CH_UNREACHABLE' });
  await eventually('it runs no more', async () => (await running()) === 0);
  const tooMuch = await clickhouse
    .selectWithin(
      LIMITS,
      'SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1',
      {},
      AbortSignal.timeout(30_000),
    )
    .catch((error: unknown) => withinLimits(error));
  expect(tooMuch).toMatchObject({ code: 'OUTBOX_CONSOLE_LIMIT', clickhouseCode: 158 });
  await clickhouse.close();
});

test('the page is below 150 kB as browsers get it', () => {
  const files = globSync('build/console/**/*.*', { cwd: ROOT });
  expect(files.length).toBeGreaterThan(3);
  const bytes = files.map((file) => gzipSync(readFileSync(join(ROOT, file)), { level: 9 }).length);
  expect(bytes.reduce((sum, n) => sum + n, 0)).toBeLessThan(150_000);
});
