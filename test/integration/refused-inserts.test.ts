import { describe, expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { Gateway } from '../support/gateway.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const GOOD = { kind: 'good', ip: '10.0.0.1', n: 7 };
const BAD = { kind: 'bad', ip: 'nowhere', n: 0 };

const COLUMNS = {
  '691 UNKNOWN_ELEMENT_OF_ENUM': "Enum8('good' = 1) MATERIALIZED JSONExtractString(event_context_text, 'kind')",
  '675 CANNOT_PARSE_IPV4': "IPv4 MATERIALIZED toIPv4(JSONExtractString(event_context_text, 'ip'))",
  '153 ILLEGAL_DIVISION': "Int64 MATERIALIZED intDiv(100, JSONExtractInt(event_context_text, 'n'))",
  '395 FUNCTION_THROW_IF_VALUE_IS_NON_ZERO': "UInt8 MATERIALIZED throwIf(JSONExtractInt(event_context_text, 'n') = 0)",
  '36 BAD_ARGUMENTS': "Float64 MATERIALIZED parseTimeDelta(if(event_context_text LIKE '%bad%', 'never', '1s'))",
  // without a function, 33 says that the body was cut short, and 62 that the statement is at fault
  '33 CANNOT_READ_ALL_DATA':
    "String MATERIALIZED toString(CAST(unhex(if(event_context_text LIKE '%bad%', '01', '0000000000000000')), 'AggregateFunction(sum, UInt64)'))",
  '62 SYNTAX_ERROR':
    "String MATERIALIZED formatQuerySingleLine(if(event_context_text LIKE '%bad%', 'SELEC 1', 'SELECT 1'))",
};

function times(count: number, context: object): object[] {
  return Array.from({ length: count }, () => context);
}

async function emit(outbox: Outbox, contexts: readonly object[]): Promise<void> {
  await outbox.postgres.query(
    "INSERT INTO outbox.event (event_type, event_context) SELECT 'test.row', value FROM json_array_elements($1)",
    [JSON.stringify(contexts)],
  );
}

async function sql(outbox: Outbox, query: string): Promise<void> {
  await outbox.clickhouse.command({ query });
}

async function reasons(outbox: Outbox): Promise<string[]> {
  const { rows } = await outbox.postgres.query<{ reason: string }>(
    'SELECT reason FROM outbox.quarantine ORDER BY lsn, seq',
  );
  return rows.map(({ reason }) => reason);
}

async function untilAside(outbox: Outbox, count: number): Promise<void> {
  await eventually(`${count} events in quarantine`, async () => (await reasons(outbox)).length >= count, 60_000);
}

async function settled(outbox: Outbox): Promise<void> {
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null, 60_000);
}

async function expectDelivered(outbox: Outbox, rows: number): Promise<void> {
  await outbox.untilDelivered(rows);
  await settled(outbox);
  expect(await outbox.delivered()).toEqual({ rows, events: rows });
}

describe('the streamer quarantines the one event that the table refuses', () => {
  test.concurrent.for(Object.entries(COLUMNS))('with %s', async ([reason, column]) => {
    await using outbox = await Outbox.create();
    await outbox.addView();
    await sql(outbox, `ALTER TABLE events ADD COLUMN extra ${column}`);
    await emit(outbox, [...times(20, GOOD), BAD, ...times(20, GOOD)]);
    const streamer = outbox.stream();
    await streamer.failure('OUTBOX_QUARANTINED');
    await expectDelivered(outbox, 40);
    expect(await reasons(outbox)).toEqual([expect.stringContaining(reason)]);
    expect(await outbox.viewed()).toBe(40);
    expect(streamer.output).not.toContain('nowhere');
    expect(await streamer.stop()).toBe(0);
  });
});

test.concurrent('an event that quotes the words of a view that failed is quarantined alone, with a view and without', async () => {
  await using outbox = await Outbox.create();
  await sql(outbox, "ALTER TABLE events ADD CONSTRAINT amount CHECK JSONExtractInt(event_context_text, 'n') >= 0");
  const id = '00000000-0000-0000-0000-000000000000';
  const bad = { n: -1, note: `: while pushing to view ${outbox.slot}.counter (${id})` };
  const streamer = outbox.stream();
  await emit(outbox, [GOOD, bad, GOOD]);
  await untilAside(outbox, 1);
  await expectDelivered(outbox, 2);
  await outbox.addView();
  await emit(outbox, [GOOD, bad, GOOD]);
  await untilAside(outbox, 2);
  await expectDelivered(outbox, 4);
  expect(await outbox.viewed()).toBe(2);
  const retried = await command(outbox, ['quarantine', 'retry', '--all', '--json']).done;
  expect(JSON.parse(retried.stdout)).toMatchObject({ refused: 2 });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer quarantines a refused event that comes first only when the table has taken a later one', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await sql(outbox, `ALTER TABLE events ADD COLUMN extra ${COLUMNS['153 ILLEGAL_DIVISION']}`);
  await emit(outbox, [BAD]);
  const streamer = outbox.stream();
  expect((await streamer.failure('OUTBOX_CH_REFUSED')).err).toMatchObject({ clickhouseCode: 153 });
  await emit(outbox, [BAD, BAD]);
  expect(await reasons(outbox)).toEqual([]);
  await emit(outbox, [BAD, GOOD, BAD]);
  await emit(outbox, [GOOD]);
  await streamer.failure('OUTBOX_QUARANTINED');
  await outbox.untilDelivered(2);
  // the last of the refused ones has no neighbour yet that is not there
  await emit(outbox, [GOOD]);
  await untilAside(outbox, 5);
  await expectDelivered(outbox, 3);
  expect(await reasons(outbox)).toHaveLength(5);
  expect(await outbox.viewed()).toBe(3);
  // a view has what was sent ahead: nothing is said of it
  expect(streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_CH_VIEWS_UNPROVEN')).toEqual([]);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer quarantines nothing while the table refuses every event, and delivers all once it is fixed', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await sql(outbox, 'ALTER TABLE events ADD CONSTRAINT sound CHECK false');
  await outbox.fill(50);
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_CH_REFUSED');
  expect(err).toMatchObject({ clickhouseCode: 469, next: expect.stringContaining('constraints') });
  await outbox.fill(50);
  await streamer.log(({ err: later, attempts }) => later?.code === 'OUTBOX_CH_REFUSED' && Number(attempts) > 3);
  expect(await command(outbox, ['doctor']).done).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('clickhouse.inserts'),
  });
  expect(await reasons(outbox)).toEqual([]);
  await sql(outbox, 'ALTER TABLE events DROP CONSTRAINT sound');
  await expectDelivered(outbox, 100);
  expect(await reasons(outbox)).toEqual([]);
  expect(await outbox.viewed()).toBe(100);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer delivers or quarantines each event once when it is killed after it has sent one ahead (invariants 3 and 4)', async () => {
  await using outbox = await Outbox.create();
  await sql(outbox, `ALTER TABLE events ADD COLUMN extra ${COLUMNS['153 ILLEGAL_DIVISION']}`);
  await emit(outbox, [BAD, BAD, GOOD, BAD, GOOD]);
  for (let kills = 0; kills < 6; kills++) {
    const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
    await streamer.attached();
    await eventually('something is there', async () => (await outbox.delivered()).rows > 0);
    await new Promise((resolve) => setTimeout(resolve, 60 * kills));
    await streamer.kill();
  }
  const streamer = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await emit(outbox, [GOOD]);
  await untilAside(outbox, 3);
  await expectDelivered(outbox, 3);
  expect(await reasons(outbox)).toHaveLength(3);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer splits what a proxy finds too large, and delivers each event once', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  gateway.maxBodyBytes = 1_000_000;
  await emit(outbox, times(6000, { ...GOOD, text: 'x'.repeat(400) }));
  const streamer = outbox.stream({ CLICKHOUSE_URL: gateway.url });
  const { err } = await streamer.failure('OUTBOX_CH_PROXY');
  expect(err?.message).toContain('HTTP status 413, answered by gateway/1.0, not by ClickHouse');
  await expectDelivered(outbox, 6000);
  expect(await outbox.viewed()).toBe(6000);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer quarantines an event that is too large for a proxy by itself', async () => {
  await using outbox = await Outbox.create();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  gateway.maxBodyBytes = 100_000;
  await emit(outbox, [GOOD, { ...GOOD, text: 'x'.repeat(200_000) }, GOOD]);
  const streamer = outbox.stream({ CLICKHOUSE_URL: gateway.url });
  await streamer.failure('OUTBOX_QUARANTINED');
  await expectDelivered(outbox, 2);
  expect(await reasons(outbox)).toEqual([expect.stringContaining('HTTP status 413')]);
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer reports a proxy’s answers with their status and author, and delivers once they end', async () => {
  await using outbox = await Outbox.create();
  await using gateway = await Gateway.to(outbox.clickhouseUrl);
  const streamer = outbox.stream({
    CLICKHOUSE_URL: gateway.url,
    OUTBOX_RETRY_MAX_MS: '200',
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
  });
  await streamer.attached();
  gateway.status = 301;
  await outbox.fill(10);
  for (const status of [301, 401, 403, 404, 411, 429, 502, 503, 504]) {
    gateway.status = status;
    await streamer.log(({ err }) => err?.message?.includes(`HTTP status ${status}, answered by gateway/1.0`) === true);
  }
  gateway.status = undefined;
  await expectDelivered(outbox, 10);
  const doctor = await command(outbox, ['doctor'], { CLICKHOUSE_URL: gateway.url }).done;
  expect(doctor.stderr).toBe('');
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('`repair` ends when the table refuses every event, and sets aside those that it refuses alone', async () => {
  await using outbox = await Outbox.create();
  const quick = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
  const streamer = outbox.stream();
  await emit(outbox, times(20, GOOD));
  await expectDelivered(outbox, 20);
  await sql(outbox, 'TRUNCATE TABLE events');
  await sql(outbox, 'ALTER TABLE events ADD CONSTRAINT never CHECK false');
  const refused = await command(outbox, ['repair'], quick).done;
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('OUTBOX_CH_REFUSED');
  // those that nothing vouched for
  expect((await reasons(outbox)).length).toBe(10);
  await sql(outbox, 'ALTER TABLE events DROP CONSTRAINT never');
  expect(await command(outbox, ['repair'], quick).done).toMatchObject({ code: 0 });
  expect(await command(outbox, ['quarantine', 'retry', '--all']).done).toMatchObject({ code: 0 });
  await expectDelivered(outbox, 20);
  expect(await streamer.stop()).toBe(0);
});
