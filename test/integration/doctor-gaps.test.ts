import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { connectClient } from '../../src/streamer/source/database.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Outbox, withDatabase } from '../support/outbox.ts';
import { ask, startStandby } from '../support/standby-server.ts';
import { eventually } from '../support/wait.ts';

// a repair waits for inserts that may be under way, so these tests run concurrently

test.concurrent.for<readonly [id: string, code: string, statement: string]>([
  ['postgres.publication', 'OUTBOX_PUBLICATION_MISSING', 'DROP PUBLICATION outbox'],
  ['postgres.slot', 'OUTBOX_SLOT_MISSING', 'SELECT pg_drop_replication_slot($1)'],
  [
    'postgres.ledger',
    'OUTBOX_REPAIR_UNFINISHED',
    'UPDATE outbox.stream SET repair_began_at = now() WHERE slot_name = $1',
  ],
  [
    'postgres.slot',
    'OUTBOX_SLOT_CHANGED',
    'SELECT pg_replication_slot_advance($1, pg_current_wal_lsn()) FROM (SELECT pg_logical_emit_message(true, $1, $1)) AS more',
  ],
])('`doctor` reports a gap as %s with %s, until its fix is applied', async ([id, code, statement]) => {
  await using own = await Outbox.create();
  const look = async (): Promise<Finding | undefined> =>
    findingOf(
      await examine({ DATABASE_URL: own.databaseUrl, CLICKHOUSE_URL: own.clickhouseUrl, OUTBOX_SLOT: own.slot }),
      id,
    );
  await own.postgres.query(statement, statement.includes('$1') ? [own.slot] : []);
  const finding = await look();
  expect(finding?.found).toContain(code);
  for (const fix of finding!.fix) await apply(fix, own);
  expect(await look()).toBeUndefined();
});

test.concurrent('`doctor` names what slot, primary and standby lack for a failover, until it is there', async () => {
  await using postgres = await startPostgres();
  await using own = await Outbox.create({ postgresUrl: postgres.url });
  const on = { CLICKHOUSE_URL: own.clickhouseUrl, OUTBOX_SLOT: own.slot, OUTBOX_SLOT_FAILOVER: 'on' };
  const primary = async (): Promise<Finding[]> => examine({ ...on, DATABASE_URL: own.databaseUrl });
  const slot = findingOf(await primary(), 'postgres.slot_failover');
  // psql speaks the replication protocol when the URL says so
  const [, statement] = / -c "(.+)"$/.exec(slot!.fix[0]!.run)!;
  const replication = await connectClient(own.databaseUrl, { replication: true }, () => undefined);
  await replication.query(statement!);
  await replication.end();
  const alone = await primary();
  expect(findingOf(alone, 'postgres.slot_failover')).toBeUndefined();
  expect(findingOf(alone, 'postgres.synchronized_standbys')).toMatchObject({ level: 'warning', fix: [] });

  await using standby = await startStandby(postgres);
  const attached = await eventually('a standby to name', async () => {
    const found = findingOf(await primary(), 'postgres.synchronized_standbys');
    return found?.fix.length === 2 ? found : undefined;
  });
  for (const fix of attached.fix) await apply(fix, own);
  await eventually(
    'it is named',
    async () => findingOf(await primary(), 'postgres.synchronized_standbys') === undefined,
  );

  const there = withDatabase(standby.url, decodeURIComponent(new URL(own.databaseUrl).pathname.slice(1)));
  await own.stream().attached();
  await eventually('the copy is ready', async () => {
    await own.fill(1);
    await own.postgres.query('SELECT pg_log_standby_snapshot()');
    return findingOf(await examine({ ...on, DATABASE_URL: there }), 'standby.slot') === undefined;
  });
  const left = await examine({ ...on, DATABASE_URL: there });
  expect(left.filter(({ id }) => id.startsWith('standby.'))).toEqual([]);
  expect(findingOf(left, 'postgres.role')).toMatchObject({ level: 'error', found: 'a standby' });
  await ask(standby.url, 'ALTER SYSTEM SET hot_standby_feedback = off');
  await ask(standby.url, 'SELECT pg_reload_conf()');
  const off = await eventually('no feedback', async () =>
    findingOf(await examine({ ...on, DATABASE_URL: there }), 'standby.feedback'),
  );
  for (const { run } of off.fix) await ask(standby.url, run);
  await eventually(
    'feedback',
    async () => findingOf(await examine({ ...on, DATABASE_URL: there }), 'standby.feedback') === undefined,
  );

  await standby.stop();
  const away = await eventually('it is away', async () => {
    const found = findingOf(await primary(), 'postgres.synchronized_standbys');
    return found?.level === 'error' ? found : undefined;
  });
  for (const fix of away.fix) await apply(fix, own);
  await eventually(
    'nobody is waited for',
    async () => findingOf(await primary(), 'postgres.synchronized_standbys')?.level === 'warning',
  );
});
