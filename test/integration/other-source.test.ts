import { Client } from 'pg';
import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { Streamer } from '../support/streamer.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

async function delivered(outbox: Outbox, count: number): Promise<void> {
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(count);
  await outbox.untilDelivered(count);
  expect(await streamer.stop()).toBe(0);
}

/** As docs/failover.md has it. */
async function rename(outbox: Outbox, from: string, to: string): Promise<void> {
  await outbox.clickhouse.command({
    query: `ALTER TABLE events UPDATE source = '${to}' WHERE source = '${from}' SETTINGS mutations_sync = 2`,
  });
}

test.concurrent('under another slot name, `repair` sends nothing twice, and after docs/failover.md only what was not delivered', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await delivered(outbox, 20);
  await outbox.fill(3, 'test.between');
  const slot = `${outbox.slot}_b`;
  const messages: string[] = [];
  await migratePostgres(outbox.databaseUrl, slot, (line) => messages.push(line));
  expect(messages.join('\n')).toContain('Another slot name, another cluster');
  const renamed = { ...QUICK, OUTBOX_SLOT: slot };
  const streamer = outbox.stream({ OUTBOX_SLOT: slot });
  await streamer.attached();
  for (const args of [['repair'], ['repair', '--dry-run'], ['repair', '--new-slot']]) {
    const refused = await command(outbox, args, renamed).done;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('OUTBOX_REPAIR_OTHER_SOURCE');
    expect(refused.stderr).toContain(`20 have the source "`);
  }
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });

  const { rows } = await outbox.postgres.query<{ id: string }>('SELECT system_id AS id FROM outbox.stream LIMIT 1');
  const id = rows[0]!.id;
  await rename(outbox, `${id}/${outbox.slot}`, `${id}/${slot}`);
  const repair = await command(outbox, ['repair', '--json'], renamed).done;
  expect(JSON.parse(repair.stdout)).toMatchObject({ missing: 3, sent: 3, double: 0, extra: 0 });
  await outbox.fill(4);
  await outbox.untilDelivered(27);
  expect(await outbox.delivered()).toEqual({ rows: 27, events: 27 });
  expect(await outbox.viewed()).toBe(27);
  expect(await command(outbox, ['verify'], renamed).done).toMatchObject({ code: 0 });
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
}, 120_000);

test.concurrent('`repair --send-again` sends what another source has delivered', async () => {
  await using outbox = await Outbox.create();
  await delivered(outbox, 5);
  const slot = `${outbox.slot}_b`;
  await migratePostgres(outbox.databaseUrl, slot, () => undefined);
  const streamer = outbox.stream({ OUTBOX_SLOT: slot });
  await streamer.attached();
  const { stdout } = await command(outbox, ['repair', '--send-again', '--json'], { ...QUICK, OUTBOX_SLOT: slot }).done;
  expect(JSON.parse(stdout)).toMatchObject({ missing: 5, sent: 5 });
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 5 });
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
}, 120_000);

test.concurrent('in another cluster made from a dump, docs/failover.md leads to every event once', async () => {
  await using origin = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: origin.url });
  await delivered(outbox, 20);
  await outbox.fill(1, 'test.undelivered');
  await using cluster = await startPostgres();
  await migratePostgres(cluster.url, 'unused', () => undefined);
  const moved = new URL(cluster.url);
  const environment = {
    ...QUICK,
    DATABASE_URL: moved.href,
    CLICKHOUSE_URL: outbox.clickhouseUrl,
    OUTBOX_SLOT: outbox.slot,
  };
  const client = new Client({ connectionString: moved.href });
  await client.connect();
  try {
    // what pg_dump and pg_restore bring
    const columns =
      'event_id, event_type, event_context, event_date_time, environment, metadata_version, subject, recorded_at, recorded_by, traceparent';
    const { rows } = await outbox.postgres.query<{ row: unknown }>(
      `SELECT to_json(e) AS row FROM (SELECT ${columns.replace('event_context,', 'event_context::text AS event_context,')} FROM outbox.event) e`,
    );
    await client.query(
      `INSERT INTO outbox.event (${columns}) SELECT ${columns.replace('event_context,', 'event_context::json,')}
         FROM json_to_recordset($1::json) AS e(event_id uuid, event_type text, event_context text, event_date_time timestamptz, environment text,
              metadata_version bigint, subject text, recorded_at timestamptz, recorded_by text, traceparent text)`,
      [JSON.stringify(rows.map(({ row }) => row))],
    );
    await migratePostgres(moved.href, outbox.slot, () => undefined);
    const streamer = new Streamer(environment);
    await streamer.attached();
    const refused = await command(outbox, ['repair'], environment).done;
    expect(refused.stderr).toContain('OUTBOX_REPAIR_OTHER_SOURCE');
    expect(await streamer.stop()).toBe(0);

    const former = await outbox.postgres.query<{ s: string }>(
      "SELECT system_id || '/' || slot_name AS s FROM outbox.stream",
    );
    const present = await client.query<{ s: string }>(
      "SELECT system_id || '/' || slot_name AS s FROM outbox.stream WHERE slot_name = $1",
      [outbox.slot],
    );
    await rename(outbox, former.rows[0]!.s, present.rows[0]!.s);
    const successor = new Streamer(environment);
    await successor.attached();
    // positions begin anew: what was delivered a moment ago seems to come from behind the snapshot
    const early = await command(outbox, ['repair'], environment).done;
    expect(early.stderr).toContain('20 were delivered less than a minute ago');
    // instead of that minute
    for (let i = 0; i < 3; i++) await client.query("SELECT pg_logical_emit_message(true, 'x', ''), pg_switch_wal()");
    const repair = await command(outbox, ['repair', '--json'], environment).done;
    expect(JSON.parse(repair.stdout)).toMatchObject({ missing: 1, sent: 1 });
    await client.query(
      "INSERT INTO outbox.event (event_type, event_context) SELECT 'new', '{}' FROM generate_series(1, 5)",
    );
    await outbox.untilDelivered(26);
    expect(await outbox.delivered()).toEqual({ rows: 26, events: 26 });
    expect(await command(outbox, ['verify'], environment).done).toMatchObject({ code: 0 });
    expect(await successor.stop()).toBe(0);
  } finally {
    await client.end();
  }
}, 120_000);
