import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createClient } from '@clickhouse/client';
import { expect, test } from 'vitest';
import { startClickHouse } from '../../src/embedded/clickhouse.ts';
import { onFreePort } from '../../src/embedded/ports.ts';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { changing } from '../support/changing.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { fillDaysAgo, kept, OFF, retain } from '../support/retention.ts';
import { eventually } from '../support/wait.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

test.concurrent('a view gets every event, `verify` finds nothing missing, and `repair` sends nothing, under a profile that shortens every answer', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const profile = {
    limit: '100',
    use_query_cache: '1',
    output_format_json_array_of_rows: '1',
    additional_result_filter: '0',
    empty_result_for_aggregation_by_empty_set: '1',
    transfer_overflow_mode: 'break',
    input_format_native_decode_types_in_binary_format: '1',
    enable_named_columns_in_function_tuple: '1',
    compatibility: '22.3',
    max_block_size: '100',
    min_insert_block_size_rows_for_materialized_views: '1',
    input_format_native_allow_types_conversion: '0',
    force_primary_key: '1',
    force_index_by_date: '1',
    force_optimize_projection: '1',
    force_optimize_projection_name: 'nothing',
  };
  // what a profile sets holds where a request does not say otherwise
  const { server, url } = await changing(new URL(outbox.clickhouseUrl), (parameters) => {
    for (const [name, value] of Object.entries(profile)) if (!parameters.has(name)) parameters.set(name, value);
  });
  const environment = { ...QUICK, CLICKHOUSE_URL: url };
  const streamer = outbox.stream(environment);
  await outbox.fill(1000);
  await outbox.untilDelivered(1000);
  await eventually('the view has counted them', async () => (await outbox.viewed()) === 1000);
  expect(await command(outbox, ['verify', '--wait', '20s', '--json'], environment).done).toMatchObject({ code: 0 });
  const repaired = await command(outbox, ['repair', '--json'], environment).done;
  expect(repaired).toMatchObject({ code: 0 });
  expect(JSON.parse(repaired.stdout)).toMatchObject({ missing: 0, sent: 0 });
  expect((await command(outbox, ['doctor'], environment).done).stdout).not.toContain('the check failed');
  expect(await outbox.delivered()).toEqual({ rows: 1000, events: 1000 });
  expect(await streamer.stop()).toBe(0);
  server.close();
});

test.concurrent('the streamer goes on while a lightweight UPDATE has parts of its own in the table', async () => {
  await using outbox = await Outbox.create();
  await outbox.clickhouse.command({
    query: 'ALTER TABLE events MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1',
  });
  const first = outbox.stream();
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  expect(await first.stop()).toBe(0);
  await outbox.clickhouse.command({
    query: "UPDATE events SET subject = 'nobody' WHERE event_type = 'test.filled'",
    clickhouse_settings: { enable_lightweight_update: 1 },
  });
  const streamer = outbox.stream();
  await outbox.fill(10);
  await outbox.untilDelivered(110);
  expect(streamer.output).not.toContain('OUTBOX_CH_ROWS_HIDDEN');
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer and `repair` refuse an account from which a row policy hides rows, and name the way out', async () => {
  await using clickhouse = await startClickHouse();
  await using outbox = await Outbox.create({ clickhouseUrl: clickhouse.url });
  const first = outbox.stream();
  await outbox.fill(100);
  await outbox.untilDelivered(100);
  expect(await first.stop()).toBe(0);
  const file = join(clickhouse.directory, 'users.xml');
  const users = await readFile(file, 'utf8');
  const policy = `<databases><${outbox.slot}><events><filter>event_type = 'nobody'</filter></events></${outbox.slot}></databases>`;
  await writeFile(file, users.replace('</outbox>', `${policy}</outbox>`));
  await clickhouse.stop();
  await clickhouse.start();
  expect(await outbox.delivered()).toEqual({ rows: 0, events: 0 });
  const streamer = outbox.stream(QUICK);
  await outbox.fill(10);
  const { err } = await streamer.failure('OUTBOX_CH_ROWS_HIDDEN');
  expect(err?.next).toContain('USING 1 TO');
  const repaired = await command(outbox, ['repair'], QUICK).done;
  expect(repaired.code).not.toBe(0);
  expect(repaired.stderr).toContain('OUTBOX_CH_ROWS_HIDDEN');
  await writeFile(file, users);
  await clickhouse.stop();
  await clickhouse.start();
  await outbox.untilDelivered(110);
  expect(await outbox.delivered()).toEqual({ rows: 110, events: 110 });
});

test.concurrent('the streamer refuses to insert through a proxy that drops settings, and delivers once it passes them', async () => {
  await using outbox = await Outbox.create();
  let isDropping = true;
  const { server, url } = await changing(new URL(outbox.clickhouseUrl), (parameters) => {
    if (isDropping) parameters.delete('insert_deduplication_token');
  });
  const streamer = outbox.stream({ CLICKHOUSE_URL: url });
  await outbox.fill(10);
  const { err } = await streamer.failure('OUTBOX_CH_SETTINGS_DROPPED');
  expect(err?.problems).toEqual(['insert_deduplication_token']);
  expect(await outbox.delivered()).toEqual({ rows: 0, events: 0 });
  isDropping = false;
  await outbox.untilDelivered(10);
  expect(await streamer.stop()).toBe(0);
  server.close();
});

test.concurrent('an insert whose answer is lost counts once, though a proxy had dropped its token (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  let isDropping = false;
  const { server, url: beyond } = await changing(new URL(outbox.clickhouseUrl), (parameters) => {
    if (isDropping) parameters.delete('insert_deduplication_token');
  });
  const { proxy, url } = await Proxy.to(new URL(beyond));
  const streamer = outbox.stream({ ...QUICK, CLICKHOUSE_URL: url });
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  isDropping = true;
  // only an insert sends so many bytes on one connection
  proxy.holdAnswersToInserts();
  await outbox.fill(300);
  await outbox.untilDelivered(310);
  proxy.release();
  proxy.cut();
  await streamer.failure('OUTBOX_CH_SETTINGS_DROPPED');
  isDropping = false;
  await outbox.fill(1);
  await outbox.untilDelivered(311);
  expect(await outbox.delivered()).toEqual({ rows: 311, events: 311 });
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
  server.close();
});

test.concurrent('an answer that a proxy has kept is not taken for a new one', async () => {
  await using outbox = await Outbox.create();
  const answers = new Map<string, Promise<string>>();
  const server = createServer((incoming, answer) => {
    const pass = async (): Promise<void> => {
      const body = await text(incoming);
      const { search, origin } = new URL(incoming.url!, outbox.clickhouseUrl);
      const key = `${search.replace(/&query_id=[^&]*/, '')} ${body}`;
      const headers = { authorization: incoming.headers.authorization! };
      const ask = async (): Promise<string> =>
        (await fetch(`${origin}/${search}`, { method: 'POST', body, headers })).text();
      if (!answers.has(key)) answers.set(key, ask());
      answer.writeHead(200, { 'x-clickhouse-summary': '{}' }).end(await answers.get(key));
    };
    void pass();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = new URL(outbox.clickhouseUrl);
  url.port = String((server.address() as AddressInfo).port);
  const clickhouse = new ClickHouse(url.href, 5000);
  const count = async (): Promise<unknown> => clickhouse.select('SELECT toInt32(count()) AS n FROM events');
  expect(await count()).toEqual([{ n: 0 }]);
  await outbox.clickhouse.command({ query: "INSERT INTO events (event_type) VALUES ('direct')" });
  expect(await count()).toEqual([{ n: 1 }]);
  expect(answers.size).toBe(2);
  await clickhouse.close();
  server.close();
});

test.concurrent('the streamer reports an emptied table, goes on, and retention keeps what it does not find there', async () => {
  await using outbox = await Outbox.create();
  const first = outbox.stream(OFF);
  await fillDaysAgo(outbox, 10, 20);
  await fillDaysAgo(outbox, 9, 20);
  await outbox.untilDelivered(40);
  expect(await first.stop()).toBe(0);
  await outbox.clickhouse.command({ query: 'TRUNCATE TABLE events' });
  const port = await onFreePort(0, async (free) => free);
  const streamer = outbox.stream({ ...OFF, OUTBOX_HEALTH_PORT: String(port) });
  const { err } = await streamer.failure('OUTBOX_LEDGER_AHEAD');
  expect(err?.next).toContain('verify');
  const told = {
    code: 'OUTBOX_LEDGER_AHEAD',
    detail: expect.stringContaining('neither in the table nor in quarantine'),
  };
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
  expect(await answer.json()).toMatchObject({ warnings: [told] });
  const { stdout } = await command(outbox, ['status', '--json']).done;
  expect(JSON.parse(stdout)).toMatchObject({ warnings: [told] });
  const { stdout: doctor } = await command(outbox, ['doctor']).done;
  expect(doctor).toMatch(/warning {2}postgres\.delivered {2}OUTBOX_LEDGER_AHEAD/);
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  const { removed, kept: stays } = await retain(outbox);
  expect(removed).toEqual([]);
  expect(stays?.reason).toContain('0 of 20 events of it that were looked for are in ClickHouse');
  expect(await kept(outbox)).toMatchObject({ '10 days': 20, '9 days': 20 });
  expect(await command(outbox, ['repair', '--json'], QUICK).done).toMatchObject({ code: 0 });
  await outbox.untilDelivered(45);
  expect((await retain(outbox)).removed).toHaveLength(2);
  expect(await streamer.stop()).toBe(0);
  const again = outbox.stream(OFF);
  await again.attached();
  await outbox.fill(1);
  await outbox.untilDelivered(46);
  expect(again.logs.filter(({ err: said }) => said?.code === 'OUTBOX_LEDGER_AHEAD')).toEqual([]);
  expect(await again.stop()).toBe(0);
});

test.concurrent('retention keeps a partition of which ClickHouse has only the first and the last rows', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream(OFF);
  await fillDaysAgo(outbox, 10, 20_000);
  await outbox.untilDelivered(20_000);
  await outbox.clickhouse.command({
    query: `DELETE FROM events WHERE seq BETWEEN 101 AND 19900`,
    clickhouse_settings: { lightweight_deletes_sync: '2' },
  });
  const { removed, kept: stays } = await retain(outbox);
  expect(removed).toEqual([]);
  expect(stays?.reason).toContain('events of it that were looked for are in ClickHouse');
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('the streamer and `doctor` refuse an account that may not send the settings of an insert', async () => {
  await using outbox = await Outbox.create();
  const { server, url } = await changing(new URL(outbox.clickhouseUrl), (parameters) => {
    // as `readonly = 1` in a profile does it
    if (parameters.get('query')?.startsWith('INSERT') === true) parameters.set('readonly', '1');
  });
  const environment = { ...QUICK, CLICKHOUSE_URL: url };
  const streamer = outbox.stream(environment);
  const { err } = await streamer.failure('OUTBOX_CH_REFUSED');
  expect(err).toMatchObject({ clickhouseCode: 164 });
  const doctor = await command(outbox, ['doctor', '--json'], environment).done;
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toContain('readonly = 0');
  expect(await streamer.stop()).toBe(0);
  server.close();
});

test.concurrent('`doctor` judges a view by its target’s engine, whatever comments say and however names are quoted', async () => {
  await using outbox = await Outbox.create();
  const sql = async (query: string): Promise<unknown> => outbox.clickhouse.command({ query });
  const words = "COMMENT 'ENGINE = MergeTree SETTINGS non_replicated_deduplication_window = 9999'";
  await sql(`CREATE TABLE \`odd "name\` (n UInt64 ${words}) ENGINE = Memory ${words}`);
  await sql('CREATE MATERIALIZED VIEW forgets TO `odd "name` AS SELECT count() AS n FROM events');
  const quoting = await changing(new URL(outbox.clickhouseUrl), (parameters) =>
    parameters.set('show_create_query_identifier_quoting_style', 'DoubleQuotes'),
  );
  for (const url of [outbox.clickhouseUrl, quoting.url]) {
    const { stdout } = await command(outbox, ['doctor', '--json'], { CLICKHOUSE_URL: url }).done;
    expect(stdout).toContain('forgets fills a table that does not remember');
    expect(stdout).not.toContain('cannot be checked');
  }
  quoting.server.close();
});

test.concurrent('the streamer and `doctor` refuse a balancer before two servers that do not replicate, and events flow once one server answers', async () => {
  await using one = await startClickHouse();
  await using other = await startClickHouse();
  await using outbox = await Outbox.create({ clickhouseUrl: one.url });
  // a clone of the disk has the table under the same UUID
  const [table] = await outbox.select<{ query: string; uuid: string }>(
    "SELECT create_table_query AS query, toString(uuid) AS uuid FROM system.tables WHERE database = currentDatabase() AND name = 'events'",
  );
  const there = createClient({ url: other.url });
  await there.command({ query: `CREATE DATABASE ${outbox.slot}` });
  await there.command({ query: table!.query.replace('.events ', `.events UUID '${table!.uuid}' `) });
  const file = join(other.directory, 'config.xml');
  const configuration = await readFile(file, 'utf8');
  await other.stop();
  await writeFile(file, configuration.replace('<clickhouse>', '<clickhouse><display_name>other</display_name>'));
  await other.start();
  let requests = 0;
  let isTurning = false;
  const { server, url } = await changing(new URL(outbox.clickhouseUrl), () =>
    isTurning && requests++ % 2 === 0 ? other.port : one.port,
  );
  const environment = { ...QUICK, CLICKHOUSE_URL: url };
  const streamer = outbox.stream(environment);
  await outbox.fill(10);
  await outbox.untilDelivered(10);
  isTurning = true;
  await eventually('some insertions have shown it', async () => {
    await outbox.fill(1);
    return streamer.logs.some(({ err }) => err?.code === 'OUTBOX_CH_SEVERAL_SERVERS');
  });
  const doctor = await command(outbox, ['doctor', '--json'], environment).done;
  expect(doctor.stdout).toContain('OUTBOX_CH_SEVERAL_SERVERS');
  const { events } = await outbox.delivered();
  await outbox.fill(20);
  isTurning = false;
  await outbox.untilDelivered(events + 20);
  expect(await streamer.stop()).toBe(0);
  const { rows: emitted } = await outbox.postgres.query<{ n: number }>('SELECT count(*)::int AS n FROM outbox.event');
  const both = await there.query({ query: `SELECT toUInt32(count()) AS n FROM ${outbox.slot}.events`, format: 'JSON' });
  const { data } = await both.json<{ n: number }>();
  expect(data[0]!.n + (await outbox.delivered()).rows).toBe(emitted[0]!.n);
  await there.close();
  server.close();
});
