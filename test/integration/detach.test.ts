import { Pool } from 'pg';
import { expect, test } from 'vitest';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { command, type Running } from '../support/command.ts';
import { killAt } from '../support/crash-point.ts';
import { moveOutbox } from '../support/move.ts';
import { Outbox } from '../support/outbox.ts';
import { POSTGRES } from '../support/services.embedded.ts';
import { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000', OUTBOX_BATCH_MAX_ROWS: '100' };
const DETACHES = 'NEW.detached_at IS NOT NULL AND OLD.detached_at IS NULL';
const BEGINS = 'NEW.repair_began_at IS NOT NULL AND OLD.repair_began_at IS NULL';
const RECORDS = 'NEW.pending_seq > 100';
const ENDS = 'NEW.repair_began_at IS NULL AND OLD.repair_began_at IS NOT NULL';

async function fill(pool: Pool, count: number, type: string): Promise<void> {
  await pool.query(
    `INSERT INTO outbox.event (event_type, event_context) SELECT $1, json_build_object('n', n) FROM generate_series(1, $2::int) n`,
    [type, count],
  );
}

async function killed(pool: Pool, running: Running, condition: string, commits: boolean): Promise<void> {
  await killAt(pool, condition, commits, async () => {
    running.kill();
    await running.done;
  });
}

/** An outbox whose Postgres is a server of its own, and another server that it moves to, of the newest version. */
async function twoServers(): Promise<{ old: EmbeddedPostgres; next: EmbeddedPostgres; outbox: Outbox }> {
  const [old, next] = await Promise.all([startPostgres(POSTGRES), startPostgres()]);
  return { old, next, outbox: await Outbox.create({ postgresUrl: old.url }) };
}

test.concurrent('`detach`, a move and `repair` deliver each event once under the same source, when each of them is killed, too', async () => {
  const { old, next, outbox } = await twoServers();
  await using _old = old;
  await using _next = next;
  await using _outbox = outbox;
  await outbox.addView();
  for (let i = 0; i < 3; i++)
    await outbox.postgres.query("SELECT pg_logical_emit_message(true, 'x', ''), pg_switch_wal()");
  const first = outbox.stream(QUICK);
  await first.attached();
  await outbox.fill(300, 'before');
  await outbox.untilDelivered(300);
  expect((await command(outbox, ['detach'], QUICK).done).stderr).toContain('stop all streamers, then detach');
  expect(await first.stop()).toBe(0);
  await outbox.fill(250, 'waiting');

  await killed(outbox.postgres, command(outbox, ['detach'], QUICK), DETACHES, false);
  expect(await outbox.ledger()).toMatchObject({ detached_at: null });
  await outbox.fill(50, 'between');
  await killed(outbox.postgres, command(outbox, ['detach'], QUICK), DETACHES, true);
  // the slot is left, and nobody may use it
  const late = outbox.stream(QUICK);
  await late.failure('OUTBOX_DETACHED');
  expect(await late.stop()).toBe(0);
  await outbox.fill(250, 'gap');
  const detached = await command(outbox, ['detach', '--json'], QUICK).done;
  expect({ code: detached.code, ...JSON.parse(detached.stdout) }).toMatchObject({ code: 0, slot: outbox.slot });
  expect(await command(outbox, ['detach', '--json'], QUICK).done).toMatchObject({ code: 0, stdout: detached.stdout });
  expect((await outbox.postgres.query('SELECT FROM pg_replication_slots')).rowCount).toBe(0);
  expect(await outbox.delivered()).toEqual({ rows: 600, events: 600 });
  expect((await command(outbox, ['verify']).done).stderr).toContain('OUTBOX_DETACHED');
  expect((await command(outbox, ['status']).done).stdout).toContain('OUTBOX_DETACHED');
  expect((await command(outbox, ['doctor']).done).stdout).toContain('OUTBOX_DETACHED');

  // one of those that wait is in quarantine, with a position of the old server
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context,
                                    metadata_version, subject, committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     SELECT slot_name, source, delivered_lsn, 9, event_id, event_type, event_date_time, environment, event_context::text,
            metadata_version, subject, (SELECT min(recorded_at) FROM outbox.event), '', '', recorded_at, recorded_by, 'test'
       FROM outbox.stream, outbox.event WHERE event_type = 'gap' LIMIT 1`,
  );

  await moveOutbox(outbox.postgres, next.url);
  const moved = { databaseUrl: next.url, clickhouseUrl: outbox.clickhouseUrl, slot: outbox.slot };
  const pool = new Pool({ connectionString: next.url });
  try {
    const migrated: string[] = [];
    await migratePostgres(next.url, outbox.slot, (line) => migrated.push(line));
    expect(migrated.join('\n')).toContain('is detached');
    await fill(pool, 30, 'after');
    await killed(pool, command(moved, ['repair'], QUICK), BEGINS, true);
    if (process.env['OUTBOX_TEST_KILLS'] === 'all') {
      await killed(pool, command(moved, ['repair'], QUICK), RECORDS, false);
      await killed(pool, command(moved, ['repair'], QUICK), ENDS, false);
    }
    const environment = { DATABASE_URL: next.url, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot };
    const streamer = new Streamer(environment);
    await streamer.failure('OUTBOX_DETACHED');
    const { stdout } = await command(moved, ['repair', '--json'], QUICK).done;
    expect(JSON.parse(stdout)).toMatchObject({ gap: 'the stream is detached', double: 0, extra: 0 });
    await streamer.attached();
    await fill(pool, 20, 'live');
    await outbox.untilDelivered(899);
    expect((await command(moved, ['quarantine', 'retry', '--all']).done).code).toBe(0);
    expect(await outbox.delivered()).toEqual({ rows: 900, events: 900 });
    expect(await outbox.viewed()).toBe(900);
    expect(await outbox.select('SELECT uniqExact(source) AS sources FROM events')).toEqual([{ sources: 1 }]);
    const verified = await command(moved, ['verify', '--json']).done;
    expect(JSON.parse(verified.stdout)).toMatchObject({ identical: true, missing: 0, extra: 0, postgres: 900 });
    expect(await streamer.stop()).toBe(0);
    const second = new Streamer(environment);
    await second.attached();
    await fill(pool, 1, 'last');
    await outbox.untilDelivered(901);
    expect(await second.stop()).toBe(0);
    // positions of the new server are lower, and not taken for a ledger that is behind
    expect(streamer.output + second.output).not.toContain('OUTBOX_LEDGER_BEHIND');
  } finally {
    await pool.end();
  }
}, 180_000);

test.concurrent('a move without `detach` is refused until `repair --moved`', async () => {
  const { old, next, outbox } = await twoServers();
  await using _old = old;
  await using _next = next;
  await using _outbox = outbox;
  const first = outbox.stream(QUICK);
  await first.attached();
  await outbox.fill(20);
  await outbox.untilDelivered(20);
  await first.kill();
  await outbox.fill(5, 'undelivered');
  await moveOutbox(outbox.postgres, next.url);
  const moved = { databaseUrl: next.url, clickhouseUrl: outbox.clickhouseUrl, slot: outbox.slot };
  for (const args of [['repair'], ['detach']])
    expect((await command(moved, args, QUICK).done).stderr).toContain('OUTBOX_SYSTEM_CHANGED');
  const { stdout } = await command(moved, ['repair', '--moved', '--json'], QUICK).done;
  expect(JSON.parse(stdout)).toMatchObject({ gap: 'the stream comes from another server', missing: 5, sent: 5 });
  expect(await outbox.delivered()).toEqual({ rows: 25, events: 25 });
  const verified = command(moved, ['verify', '--wait', '0s', '--json']);
  expect(JSON.parse((await verified.done).stdout)).toMatchObject({ missing: 0, double: 0, extra: 0 });
}, 120_000);

test.concurrent('`repair` on the old server goes on after `detach`, under another slot name, too; `detach` refuses a gap', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(10);
  expect(await command(outbox, ['detach'], QUICK).done).toMatchObject({ code: 0 });
  await outbox.fill(3);
  const slot = `${outbox.slot}_b`;
  await outbox.postgres.query('UPDATE outbox.stream SET slot_name = $1', [slot]);
  const renamed = { databaseUrl: outbox.databaseUrl, clickhouseUrl: outbox.clickhouseUrl, slot };
  const { stdout } = await command(renamed, ['repair', '--json'], QUICK).done;
  expect(JSON.parse(stdout)).toMatchObject({ gap: 'the stream is detached', missing: 3, sent: 3 });
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
  const refused = await command(renamed, ['detach'], QUICK).done;
  expect(refused.stderr).toContain('OUTBOX_DETACH_GAP: the slot does not exist');
  await eventually('ten and three', async () => (await outbox.delivered()).events === 13);
}, 90_000);
