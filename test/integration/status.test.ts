import { expect, test } from 'vitest';
import type { FlowReport } from '../../src/streamer/commands/status/report.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Scrape } from '../support/scrape.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

async function status(
  outbox: Outbox,
  environment: Record<string, string> = {},
): Promise<{ code: number | null; report: FlowReport }> {
  const { code, stdout, stderr } = await command(outbox, ['status', '--json'], environment).done;
  expect(stderr).toBe('');
  return { code, report: JSON.parse(stdout) as FlowReport };
}

const codes = ({ reasons }: FlowReport): string[] => reasons.map(({ code }) => code);

test.concurrent('`status` reports that events flow, and what waits and since when while ClickHouse is unreachable', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  outbox.stream({ CLICKHOUSE_URL: url });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  await eventually('it is settled', async () => (await outbox.ledger())['pending_token'] === null);
  const flowing = await status(outbox, { CLICKHOUSE_URL: url });
  expect(flowing).toMatchObject({
    code: 0,
    report: {
      flowing: true,
      reasons: [],
      warnings: [],
      streamer: { standbys: 0 },
      lag: { seconds: 0, oldestAt: null },
      pending: null,
      quarantined: 0,
      clickhouse: { version: expect.stringMatching(/^\d+\./), lastPartAt: expect.stringContaining('T') },
    },
  });
  expect(flowing.report.delivered?.position).toMatch(/^[0-9A-F]+\/[0-9A-F]+:10$/);
  expect(Date.parse(flowing.report.delivered!.committedAt!)).toBeLessThanOrEqual(Date.parse(flowing.report.at));

  proxy.isolate();
  await outbox.fill(5);
  await eventually('an insert is pending', async () => (await outbox.ledger())['pending_token'] !== null);
  await outbox.fill(7);
  const stopped = await eventually('the streamer has published what waits', async () => {
    const answer = await status(outbox, { CLICKHOUSE_URL: url });
    return answer.report.lag?.oldestAt != null && answer;
  });
  expect(stopped).toMatchObject({
    code: 1,
    report: {
      flowing: false,
      clickhouse: null,
      pending: { rows: 5 },
      lag: { bytes: expect.any(Number), oldestAt: expect.stringContaining('T') },
    },
  });
  expect(codes(stopped.report)).toContain('OUTBOX_CH_UNREACHABLE');
  const { stdout: screen } = await command(outbox, ['status'], { CLICKHOUSE_URL: url }).done;
  expect(screen).toContain('Events do not flow');
  expect(screen).toMatch(/waiting +the oldest event for .*; .* of WAL/);
  expect(screen).toMatch(
    /OUTBOX_CH_UNREACHABLE: no answer from ClickHouse within 3000 ms\n {2}Next: Check CLICKHOUSE_URL/,
  );
  // stdout is not a terminal, so there are no colours
  expect(screen).not.toContain('\u001B');

  proxy.release();
  proxy.cut();
  await outbox.untilDelivered(22);
  await eventually('it flows again', async () => (await status(outbox, { CLICKHOUSE_URL: url })).code === 0);
  await proxy.close();
});

test.concurrent('`status` and `doctor` give a ClickHouse that may idle a minute to answer, and say that it is waking', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const environment = { CLICKHOUSE_URL: url, OUTBOX_CLICKHOUSE_IDLING: 'on' };
  proxy.isolate();
  const asked = [command(outbox, ['status'], environment), command(outbox, ['doctor', '--all'], environment)];
  await Promise.all(asked.map(async ({ told }) => told('ClickHouse is waking')));
  proxy.release();
  proxy.cut();
  const [flow, doctor] = await Promise.all(asked.map(async ({ done }) => done));
  expect(flow).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^ {2}ClickHouse +\d+\..*, it was idle, and woke in \d+ s$/m),
  });
  expect(doctor).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/ok {7}clickhouse\.connection {2}reachable; it was idle, and woke in \d+ s/),
  });
  await proxy.close();
  expect(await streamer.stop()).toBe(0);
});

test.concurrent(
  '`status` without a streamer reports how much WAL waits, and no age for the oldest event',
  { timeout: 60_000 },
  async () => {
    await using outbox = await Outbox.create();
    const streamer = outbox.stream();
    await outbox.fill(3);
    await outbox.untilDelivered(3);
    expect(await streamer.stop()).toBe(0);
    await outbox.fill(20_000);
    const { code, report } = await status(outbox);
    expect(code).toBe(1);
    expect(codes(report)).toEqual(['OUTBOX_FLOW_NO_STREAMER']);
    expect(report).toMatchObject({ streamer: null, lag: { seconds: null, oldestAt: null } });
    expect(report.lag!.bytes).toBeGreaterThan(1_000_000);
  },
);

test.concurrent('`status` reports a frozen streamer as stalled', { timeout: 60_000 }, async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  streamer.signal('SIGSTOP');
  const frozen = await eventually('it is silent', async () => {
    const { report } = await status(outbox);
    return codes(report).includes('OUTBOX_FLOW_STALLED') && report;
  });
  expect(frozen.reasons[0]?.detail).toContain('no sign of life');
  streamer.signal('SIGCONT');
  await eventually('it flows', async () => (await status(outbox)).code === 0);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`status` counts standbys and quarantined events, and reports a lost slot', async () => {
  // transactions and standbys of other tests would be seen
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT good CHECK event_type != 'bad'" });
  const streamer = outbox.stream();
  await streamer.attached();
  const standby = outbox.stream();
  await standby.log(({ msg }) => msg === 'standing by');
  await outbox.fill(1, 'bad');
  await outbox.fill(1);
  const { report } = await eventually('the one is set aside, and the other delivered', async () => {
    const told = await status(outbox);
    return told.report.quarantined === 1 && told.code === 0 && told;
  });
  expect(report).toMatchObject({
    streamer: { standbys: 1 },
    quarantined: 1,
    warnings: [{ code: 'OUTBOX_QUARANTINED' }],
  });
  await Promise.all([streamer.stop(), standby.stop()]);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  const lost = await status(outbox);
  expect(lost).toMatchObject({ code: 1, report: { slot: null } });
  expect(codes(lost.report)).toEqual(['OUTBOX_SLOT_MISSING']);
});

test.concurrent('`status` reports databases that are not migrated or not reachable, and what it learns from the other one', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const bare = await status(outbox);
  expect(bare.code).toBe(1);
  expect(codes(bare.report)).toEqual(['OUTBOX_PG_NOT_MIGRATED', 'OUTBOX_CH_NOT_MIGRATED']);
  await outbox.migrate();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  proxy.isolate();
  const held = await status(outbox, { DATABASE_URL: url });
  expect(held).toMatchObject({ code: 1, report: { streamer: null, delivered: null, lag: null } });
  expect(codes(held.report)).toEqual(['OUTBOX_PG_UNREACHABLE']);
  expect(held.report.clickhouse).not.toBeNull();
  await proxy.close();
  const wrong = (right: string, parts: Partial<URL>): string => Object.assign(new URL(right), parts).href;
  const outcomes = await Promise.all(
    [{ password: 'wrong' }, { pathname: '/nowhere' }].flatMap((parts) => [
      status(outbox, { DATABASE_URL: wrong(outbox.databaseUrl, parts) }),
      status(outbox, { CLICKHOUSE_URL: wrong(outbox.clickhouseUrl, parts) }),
    ]),
  );
  const reasons = outcomes.map(({ report }) =>
    report.reasons.map(({ code, detail }) => `${code}: ${detail}`).join('\n'),
  );
  expect(reasons).toEqual([
    expect.stringMatching(/OUTBOX_PG_AUTH: .*password authentication failed/),
    expect.stringMatching(/OUTBOX_CH_AUTH: .*AUTHENTICATION_FAILED/),
    expect.stringMatching(/OUTBOX_PG_AUTH: .*database "nowhere" does not exist/),
    expect.stringMatching(/OUTBOX_CH_NOT_MIGRATED: .*nowhere/),
  ]);
  const both = await status(outbox, { DATABASE_URL: url, CLICKHOUSE_URL: 'http://nobody:x@127.0.0.1:9/none' });
  expect(codes(both.report)).toEqual(['OUTBOX_PG_UNREACHABLE', 'OUTBOX_CH_UNREACHABLE']);
});

test.concurrent('`status` tells a database that is slow from one that is away', async () => {
  await using locked = await Outbox.create();
  await using busy = await Outbox.create();
  await busy.clickhouse.command({
    query: 'CREATE VIEW slow AS SELECT * FROM events WHERE (SELECT sleep(3)) = 0 AND (SELECT sleep(2)) = 0',
  });
  const client = await locked.postgres.connect();
  await client.query('BEGIN; LOCK TABLE outbox.stream');
  const [postgres, clickhouse] = await Promise.all([status(locked), status(busy, { OUTBOX_CLICKHOUSE_TABLE: 'slow' })]);
  await client.query('ROLLBACK');
  client.release();
  expect(postgres.report.reasons).toEqual([
    { code: 'OUTBOX_FLOW_SLOW', detail: 'Postgres lets in, and does not answer within 3000 ms' },
  ]);
  expect(clickhouse.report.reasons[0]).toEqual({
    code: 'OUTBOX_FLOW_SLOW',
    detail: expect.stringMatching(/^ClickHouse [\d.]+ answers, but no question about the table within 3000 ms$/),
  });
});

test.concurrent('`status --watch` appends one line per interval, with the rate, when stdout is not a terminal', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const watching = command(outbox, ['status', '--watch', '1', '--json']);
  const lines: FlowReport[] = [];
  watching.lines((line) => lines.push(JSON.parse(line) as FlowReport));
  await eventually('the first look', () => lines.length > 0);
  await outbox.fill(500);
  await eventually('a rate', () => lines.some(({ eventsPerSecond }) => (eventsPerSecond ?? 0) > 0));
  expect(lines[0]?.eventsPerSecond).toBeNull();
  watching.signal('SIGINT');
  expect(await watching.done).toMatchObject({ code: 0 });

  const text = command(outbox, ['status', '--watch', '1']);
  text.lines((line) => {
    if (/^\S+Z {2}flows {2}oldest 0 s {2}wal \d.* {2}rate \d+\/s/.test(line)) text.signal('SIGTERM');
  });
  expect(await text.done).toMatchObject({ code: 0 });
});

test.concurrent('`status` reports late events that Postgres withholds from the streamer for a standby that is away', async () => {
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url, failover: true });
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.postgres.query("ALTER SYSTEM SET synchronized_standby_slots = 'away'");
  await outbox.postgres.query('SELECT pg_reload_conf()');
  await outbox.fill(1);
  const late = await eventually('it is stalled', async () => {
    const { report } = await status(outbox);
    return codes(report).includes('OUTBOX_FLOW_STALLED') && report;
  });
  expect(late).toMatchObject({ flowing: false, pending: null });
  expect(late.lag?.seconds).toBeGreaterThan(10);
  expect(late.streamer).not.toBeNull();
  await streamer.log(({ msg, warning }) => msg === 'Postgres warns' && String(warning).includes('"away"'));
  await outbox.postgres.query('ALTER SYSTEM RESET synchronized_standby_slots');
  await outbox.postgres.query('SELECT pg_reload_conf()');
  await outbox.untilDelivered(1);
  await eventually('events flow', async () => (await status(outbox)).report.flowing);
});

test.concurrent('`status` says what ClickHouse refuses and since when, by the ledger, until it takes it again', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({ query: 'ALTER TABLE events ADD CONSTRAINT never CHECK false' });
  // a successor waits until no attempt of a streamer that was killed can be under way
  const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.fill(3);
  const refused = await eventually('it says so', async () => {
    const { report } = await status(outbox);
    return codes(report).includes('OUTBOX_CH_REFUSED') && report;
  });
  expect(refused.flowing).toBe(false);
  expect(refused.refusal?.said).toContain('469 VIOLATED_CONSTRAINT');
  // also when there is no streamer to ask
  await streamer.kill();
  expect((await status(outbox)).report.refusal).toEqual(refused.refusal);
  await outbox.clickhouse.command({ query: 'ALTER TABLE events DROP CONSTRAINT never' });
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.untilDelivered(3);
  await eventually('it is forgotten', async () => (await status(outbox)).report.refusal === null);
  expect(await successor.stop()).toBe(0);
});

test.concurrent('`status`, `doctor` and the metrics name the transaction that has written and is open for longest', async () => {
  // transactions and standbys of other tests would be seen
  await using postgres = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const port = await onFreePort(0, async (free) => free);
  outbox.stream({ OUTBOX_HEALTH_PORT: String(port) });
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  const client = await outbox.postgres.connect();
  await client.query("BEGIN; INSERT INTO outbox.event (event_type, event_context) VALUES ('open', '{}')");
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const what = `process ${rows[0]!.pid} (role "postgres", application "")`;
  expect((await status(outbox)).report.oldestTransaction).toMatchObject({ what, seconds: expect.any(Number) });
  const { stdout } = await command(outbox, ['doctor', '--json']).done;
  expect(stdout).toContain(what.replaceAll('"', '\\"'));
  await eventually('the metric shows it', async () => {
    const scrape = await Scrape.of(port);
    return (scrape.value('outbox_transactions_oldest_seconds') ?? 0) > 0;
  });
  await client.query('ROLLBACK');
  client.release();
  expect((await status(outbox)).report.oldestTransaction).toBeNull();
});
