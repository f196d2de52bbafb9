import { execFile } from 'node:child_process';
import { expect, test } from 'vitest';
import { CHILD_ENVIRONMENT } from '../support/child-environment.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { Collector } from '../support/collector.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';

const CANARY = 'canary-9e41';
const CLI = new URL('../../src/streamer/commands/cli.ts', import.meta.url).pathname;

/** Events that hold the canary wherever an application may put it. */
async function emitCanaries(outbox: Outbox, count = 3): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, environment, event_context, traceparent, tracestate)
     SELECT $1, $1, json_build_object('secret', $1::text, $1, n), $1, $1 FROM generate_series(1, $2::int) n`,
    [CANARY, count],
  );
}

test('logs, spans, metrics and health never contain an event’s content, however its delivery fails (invariant 10)', async () => {
  await using outbox = await Outbox.create();
  await using collector = await Collector.start();
  const { proxy: postgres, url: databaseUrl } = await Proxy.to(new URL(outbox.databaseUrl));
  const { proxy: clickhouse, url: clickhouseUrl } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({
    DATABASE_URL: databaseUrl,
    CLICKHOUSE_URL: clickhouseUrl,
    LOG_LEVEL: 'trace',
    ...collector.environment,
    OTEL_METRIC_EXPORT_INTERVAL: '1000',
    OTEL_BSP_SCHEDULE_DELAY: '100',
    OUTBOX_HEALTH_PORT: String(port),
    OUTBOX_RETRY_MAX_MS: '100',
    OUTBOX_INSERT_TIMEOUT_MS: '3000',
    OUTBOX_QUARANTINE_MAX_ROWS: '0',
  });
  await streamer.attached();
  const answers: string[] = [];
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  let count = 0;

  /** Delivery fails with the code, health is read meanwhile, and after the fix all events arrive. */
  const expectFailure = async (
    code: string,
    spoil: () => Promise<unknown>,
    fix: () => Promise<unknown>,
  ): Promise<void> => {
    const from = streamer.logs.length;
    await spoil();
    await emitCanaries(outbox);
    count += 3;
    await streamer.log(
      ({ err }) => err?.code === code && streamer.logs.slice(from).some((line) => line.err === err),
      code,
    );
    for (const path of ['readyz', 'livez', 'metrics', CANARY])
      answers.push(await (await fetch(`http://127.0.0.1:${port}/${path}`)).text());
    await fix();
    await outbox.untilDelivered(count);
  };

  await emitCanaries(outbox);
  count += 3;
  await outbox.untilDelivered(count);
  await expectFailure(
    'OUTBOX_QUARANTINE_FULL',
    async () => sql(`ALTER TABLE events ADD CONSTRAINT c CHECK event_type != '${CANARY}'`),
    async () => sql('ALTER TABLE events DROP CONSTRAINT c'),
  );
  // functions whose errors quote their argument
  for (const expression of [
    'toUInt64(event_type)',
    'toDateTime(environment)',
    'toUUID(event_context.secret::String)',
    "throwIf(1, concat('failed for ', 'all'))",
    "CAST(event_type, 'Enum8(\\'a\\' = 1)')",
  ]) {
    await expectFailure(
      'OUTBOX_CH_VIEW_FAILED',
      async () => {
        await sql(
          'CREATE TABLE seen (x String) ENGINE = MergeTree ORDER BY x SETTINGS non_replicated_deduplication_window = 100',
        );
        await sql(`CREATE MATERIALIZED VIEW viewer TO seen AS SELECT toString(${expression}) AS x FROM events`);
      },
      async () => {
        await sql('DROP TABLE viewer SYNC');
        await sql('DROP TABLE seen SYNC');
      },
    );
  }
  await expectFailure(
    'OUTBOX_CH_UNREACHABLE',
    async () => clickhouse.close(),
    async () => clickhouse.listen(),
  );
  await expectFailure(
    'OUTBOX_CH_NOT_MIGRATED',
    async () => sql('RENAME TABLE events TO gone'),
    async () => sql('RENAME TABLE gone TO events'),
  );
  await expectFailure(
    'OUTBOX_PG_UNREACHABLE',
    async () => postgres.cut(),
    async () => undefined,
  );
  // a constraint on the ledger: Postgres rejects the write and quotes the row
  await expectFailure(
    'OUTBOX_PG_FAILED',
    async () =>
      outbox.postgres.query(
        `ALTER TABLE outbox.stream ADD CONSTRAINT no_pending CHECK (pending_lsn IS NULL) NOT VALID`,
      ),
    async () => outbox.postgres.query('ALTER TABLE outbox.stream DROP CONSTRAINT no_pending'),
  );
  expect(await streamer.stop()).toBe(0);
  await postgres.close();
  await clickhouse.close();

  expect(collector.spans.some(({ status }) => status?.message === 'OUTBOX_PG_FAILED')).toBe(true);
  expect(streamer.output).not.toContain(CANARY);
  expect(new Set(collector.exports.map(({ path }) => path))).toEqual(new Set(['/v1/traces', '/v1/metrics']));
  expect(collector.exports.filter(({ body }) => body.includes(CANARY))).toEqual([]);
  expect(answers.length).toBeGreaterThan(20);
  expect(answers.join()).not.toContain(CANARY);
  expect(await outbox.delivered()).toEqual({ rows: count, events: count });
});

async function command(name: string, environment: Record<string, string>): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const env = { ...CHILD_ENVIRONMENT, ...environment };
    execFile(process.execPath, [CLI, name], { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    );
  });
}

test('`migrate`, `config` and `run` never print a password, whatever is wrong', async () => {
  await using outbox = await Outbox.create({ migrated: false });
  const spoiled = (url: string, change: Partial<URL>): string =>
    Object.assign(new URL(url), { password: CANARY }, change).href;
  const { databaseUrl, clickhouseUrl } = outbox;
  const wrong = { DATABASE_URL: spoiled(databaseUrl, {}), CLICKHOUSE_URL: spoiled(clickhouseUrl, {}) };
  const environments: readonly (readonly [string, Record<string, string>])[] = [
    ['wrong for Postgres', { DATABASE_URL: wrong.DATABASE_URL, CLICKHOUSE_URL: clickhouseUrl }],
    ['wrong for ClickHouse', { DATABASE_URL: databaseUrl, CLICKHOUSE_URL: wrong.CLICKHOUSE_URL }],
    ['no such host', { ...wrong, DATABASE_URL: spoiled(databaseUrl, { hostname: 'nowhere.invalid' }) }],
    ['no such port', { ...wrong, DATABASE_URL: spoiled(databaseUrl, { port: '1' }) }],
    ['not Postgres', { ...wrong, DATABASE_URL: spoiled(databaseUrl, { port: new URL(clickhouseUrl).port }) }],
    [
      'not ClickHouse',
      { DATABASE_URL: databaseUrl, CLICKHOUSE_URL: spoiled(clickhouseUrl, { port: new URL(databaseUrl).port }) },
    ],
    ['not a URL', { ...wrong, DATABASE_URL: `postgres://u:${CANARY}@@h` }],
    ['an unencoded password', { ...wrong, DATABASE_URL: `postgres://u:${CANARY}/%@127.0.0.1:1/db` }],
    ['interchanged', { DATABASE_URL: wrong.CLICKHOUSE_URL, CLICKHOUSE_URL: wrong.DATABASE_URL }],
    ['in a file’s name', { DATABASE_URL_FILE: `/nowhere/${CANARY}`, CLICKHOUSE_URL: clickhouseUrl }],
    ['in another setting', { ...wrong, OUTBOX_BATCH_MAX_ROWS: CANARY, LOG_LEVEL: CANARY, OUTBOX_SLOT: `x ${CANARY}` }],
  ];
  const streamers = environments
    .slice(0, 4)
    .map(([, environment]) => outbox.stream({ ...environment, LOG_LEVEL: 'trace' }));
  await Promise.all(
    environments.map(async ([name, environment]) => {
      const { code, output } = await command('migrate', environment);
      expect([name, code, output]).toEqual([name, expect.toBeOneOf([1, 2]), expect.stringMatching(/^OUTBOX_\w+: /m)]);
      const config = await command('config', environment);
      for (const said of [output, config.output]) expect(said).not.toContain(CANARY);
    }),
  );
  for (const streamer of streamers) {
    await streamer.log(({ level }) => level === 'error');
    await streamer.kill();
    expect(streamer.output).not.toContain(CANARY);
  }
});
