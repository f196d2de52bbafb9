import { expect, test } from 'vitest';
import type { Finding } from '../../src/streamer/commands/doctor/finding.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { takeOver } from '../../src/streamer/ledger/take-over.ts';
import { checkPublication } from '../../src/streamer/source/publication.ts';
import { serverOf } from '../../src/streamer/source/server.ts';
import { eventTableProblems } from '../../src/streamer/source/event-table.ts';
import { EVENT_COLUMNS } from '../../src/streamer/source/event-columns.ts';
import { command } from '../support/command.ts';
import { apply, examine, findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

function environmentOf(outbox: Outbox): Record<string, string> {
  return { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot };
}

/** Applies what `doctor` says of the table, and expects that nothing is left of it. */
async function mend(outbox: Outbox): Promise<void> {
  const finding = findingOf(await examine(environmentOf(outbox)), 'postgres.table');
  expect(finding).toMatchObject({ level: 'error' });
  for (const fix of finding!.fix) await apply(fix, outbox);
  const left = await examine(environmentOf(outbox));
  expect(left.filter(({ id }) => ['postgres.table', 'postgres.publication'].includes(id))).toEqual([]);
}

test.concurrent('the streamer, `migrate` and `doctor` name the statement that brings a dropped column back', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(3);
  await outbox.postgres.query('ALTER TABLE outbox.event DROP COLUMN traceparent CASCADE');
  await outbox.fill(3);
  const problem = expect.stringContaining('ALTER TABLE outbox.event ADD COLUMN traceparent text; ');
  const { err } = await outbox.stream().failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([problem]);
  const migrating = migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  await expect(migrating).rejects.toMatchObject({ code: 'OUTBOX_PG_TABLE_UNSUITABLE', problems: [problem] });
  await mend(outbox);
  await outbox.fill(1);
  await outbox.untilDelivered(7);
  const long = `INSERT INTO outbox.event (event_type, event_context, traceparent) VALUES ('t', '{}', repeat('x', 513))`;
  await expect(outbox.postgres.query(long)).rejects.toThrow('trace_fits');
});

test.concurrent('the statements for a dropped column bring each column back as the migration makes it', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(1);
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  const described = async (): Promise<unknown[]> => {
    const { rows } = await db.query(
      `SELECT attname, atttypid, atttypmod, attnotnull, pg_get_expr(adbin, adrelid) AS standard FROM pg_attribute
         LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'outbox.event'::regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL
       SELECT conname, 0, 0, convalidated, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'outbox.event'::regclass ORDER BY 1`,
    );
    return rows;
  };
  const before = await described();
  for (const { name } of EVENT_COLUMNS) {
    await outbox.postgres.query(`ALTER TABLE outbox.event DROP COLUMN ${name} CASCADE`);
    const problems = await eventTableProblems(db);
    expect(problems.map(({ what }) => what)).toEqual([`the column ${name} is missing`]);
    for (const statement of problems[0]!.fix) await outbox.postgres.query(statement);
    expect(await described()).toEqual(before);
  }
  await db.close();
});

test.concurrent('the streamer, `verify` and `doctor` report a column that may be NULL, and the fix leads back', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(1);
  await outbox.postgres.query(`
    ALTER TABLE outbox.event ALTER COLUMN event_date_time DROP NOT NULL, ALTER COLUMN event_id DROP NOT NULL;
    INSERT INTO outbox.event (event_id, event_date_time, event_type, event_context) VALUES (NULL, NULL, 'test.null', '{}')`);
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([
    expect.stringContaining('event_id may be NULL'),
    expect.stringContaining('ALTER TABLE outbox.event ALTER COLUMN event_date_time SET NOT NULL'),
  ]);
  expect(await streamer.stop()).toBe(0);
  const { code, stderr } = await command(outbox, ['verify', '--wait', '0']).done;
  expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('OUTBOX_PG_TABLE_UNSUITABLE') });
  const findings = (await examine(environmentOf(outbox))).filter(({ id }) => id === 'postgres.table');
  for (const { fix } of findings) for (const one of fix) if (one.in === 'postgres') await apply(one, outbox);
  await apply(findings[0]!.fix.at(-1)!, outbox);
  const { stdout } = await command(outbox, ['verify', '--wait', '0', '--json']).done;
  expect(JSON.parse(stdout)).toMatchObject({ identical: true });
});

test.concurrent('`doctor` brings a column of another type back', async () => {
  await using outbox = await Outbox.create();
  await outbox.fill(2);
  await outbox.postgres.query(`ALTER PUBLICATION outbox DROP TABLE outbox.event;
    ALTER TABLE outbox.event ALTER COLUMN environment TYPE varchar(20)`);
  const { err } = await outbox.stream().failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual([
    expect.stringContaining('environment is of type character varying(20), and not text'),
  ]);
  await mend(outbox);
  await outbox.untilDelivered(2);
});

test.concurrent('`doctor` warns of triggers and rules that can drop or change events, and their fix drops them', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER after AFTER INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.swallow();
    CREATE TRIGGER off BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.swallow();
    ALTER TABLE outbox.event DISABLE TRIGGER off`);
  const found = async (): Promise<Finding[]> =>
    (await examine(environmentOf(outbox))).filter(({ id }) => id === 'postgres.triggers');
  expect(await found()).toEqual([]);
  await outbox.postgres.query(`
    CREATE TRIGGER "Swallow" BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.swallow();
    CREATE TRIGGER day BEFORE INSERT ON outbox.event_07 FOR EACH ROW EXECUTE FUNCTION public.swallow();
    CREATE RULE nothing AS ON INSERT TO outbox.event DO INSTEAD NOTHING`);
  const findings = await found();
  expect(findings.map(({ level, fix }) => [level, ...fix.map(({ run }) => run)])).toEqual([
    ['warning', 'DROP TRIGGER "Swallow" ON outbox.event'],
    ['warning', 'DROP RULE nothing ON outbox.event'],
    ['warning', 'DROP TRIGGER day ON outbox.event_07'],
  ]);
  for (const { fix } of findings) await apply(fix[0]!, outbox);
  expect(await found()).toEqual([]);
  await outbox.fill(1);
  outbox.stream();
  await outbox.untilDelivered(1);
});

test.concurrent.for<readonly [what: string, returned: string]>([
  ['drops its writes', 'NULL'],
  ['keeps the row as it was', 'OLD'],
])('the streamer says that a trigger on the ledger %s, and goes on without it', async ([, returned]) => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await outbox.fill(1);
  await outbox.untilDelivered(1);
  await outbox.postgres.query(`
    CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN ${returned}; END';
    CREATE TRIGGER swallow BEFORE UPDATE ON outbox.stream FOR EACH ROW EXECUTE FUNCTION public.swallow()`);
  await outbox.fill(5);
  await eventually('it is said of a write and of a takeover', () => {
    const said = streamer.logs.filter(({ err }) => err?.code === 'OUTBOX_PG_WRITE_IGNORED');
    return said.length > 1;
  });
  expect(await outbox.delivered()).toEqual({ rows: 1, events: 1 });
  expect(streamer.output).not.toMatch(/OUTBOX_EPOCH_LOST|OUTBOX_SYSTEM_CHANGED/);
  const finding = findingOf(await examine(environmentOf(outbox)), 'postgres.triggers');
  expect(finding?.found).toContain('TRIGGER swallow on outbox.stream');
  await apply(finding!.fix[0]!, outbox);
  await outbox.untilDelivered(6);
  expect(await outbox.delivered()).toEqual({ rows: 6, events: 6 });
  expect(await streamer.stop()).toBe(0);
});

test.concurrent('a streamer takes the ledger over that a repair hands back at this moment, and says nothing of triggers', async () => {
  await using outbox = await Outbox.create();
  const db = await Database.connect(outbox.databaseUrl, {}, () => undefined);
  const { identity: publication } = await checkPublication(db, outbox.slot);
  const slot = { ...(await serverOf(db)), confirmedLsn: 0, isSynced: false, publication };
  const repairing = async (since: string): Promise<unknown> =>
    outbox.postgres.query(`UPDATE outbox.stream SET epoch = epoch + 1, repair_began_at = ${since}`);
  await repairing('now()');
  await expect(takeOver(db, outbox.slot, slot)).rejects.toMatchObject({ code: 'OUTBOX_REPAIR_UNFINISHED' });
  let tries = 0;
  const query: Database['query'] = async (text, values) => {
    const answer = await db.query(text, values);
    if (text.startsWith('UPDATE') && tries++ === 0) await repairing('NULL');
    return answer as never;
  };
  const racing = new Proxy(db, { get: (_, name) => (name === 'query' ? query : Reflect.get(db, name, db)) });
  expect(await takeOver(racing, outbox.slot, slot)).toMatchObject({ epoch: '3' });
  expect(tries).toBe(2);
  await db.close();
});

test.concurrent('the streamer, `status` and `doctor` lead to `repair` where WAL has a column under another name', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    BEGIN; ALTER TABLE outbox.event RENAME COLUMN environment TO env;
    INSERT INTO outbox.event (event_type, event_context) VALUES ('test.renamed', '{}');
    ALTER TABLE outbox.event RENAME COLUMN env TO environment; COMMIT`);
  const streamer = outbox.stream();
  await outbox.fill(1);
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_CHANGED');
  expect(err?.problems).toEqual(['environment is not published']);
  expect(err?.next).toContain('`pg-outbox-clickhouse repair --new-slot`');
  const code = 'OUTBOX_PG_TABLE_CHANGED';
  await eventually('the ledger has it', async () =>
    String((await outbox.ledger())['publication']).startsWith('unreadable'),
  );
  const { stdout } = await command(outbox, ['status', '--json']).done;
  expect(JSON.parse(stdout)).toMatchObject({ flowing: false, reasons: [{ code }] });
  const finding = findingOf(await examine(environmentOf(outbox)), 'postgres.publication');
  expect(finding).toMatchObject({ found: expect.stringContaining(code) });
  for (const fix of finding!.fix) await apply(fix, outbox);
  await outbox.untilDelivered(2);
  await outbox.fill(1);
  await outbox.untilDelivered(3);
  expect(await outbox.delivered()).toEqual({ rows: 3, events: 3 });
});

test.concurrent('the streamer delivers no event with a NULL that WAL still holds; a repair takes it from the table', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(`
    ALTER TABLE outbox.event ALTER COLUMN environment DROP NOT NULL;
    INSERT INTO outbox.event (event_type, event_context, environment) VALUES ('test.null', '{}', NULL);
    UPDATE outbox.event SET environment = 'prod';
    ALTER TABLE outbox.event ALTER COLUMN environment SET NOT NULL`);
  const streamer = outbox.stream();
  const { err } = await streamer.failure('OUTBOX_PG_TABLE_CHANGED');
  expect(err?.problems).toEqual(['environment is NULL']);
  await apply({ in: 'shell', run: 'pg-outbox-clickhouse repair --new-slot' }, outbox);
  expect(await outbox.select('SELECT environment FROM events')).toEqual([{ environment: 'prod' }]);
});

test.concurrent('the streamer, `status`, `migrate` and `doctor` name a second row of the slot, and the statements that remove it', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('CREATE TABLE public.older AS SELECT * FROM outbox.stream');
  const first = outbox.stream();
  await outbox.fill(3);
  await outbox.untilDelivered(3);
  expect(await first.stop()).toBe(0);
  await outbox.postgres.query(
    'ALTER TABLE outbox.stream DROP CONSTRAINT stream_pkey; INSERT INTO outbox.stream SELECT * FROM public.older',
  );
  const problems = [expect.stringMatching(/^DELETE FROM outbox.stream /), expect.stringContaining('ADD PRIMARY KEY')];
  const { err } = await outbox.stream().failure('OUTBOX_PG_TABLE_UNSUITABLE');
  expect(err?.problems).toEqual(problems);
  const migrating = migratePostgres(outbox.databaseUrl, outbox.slot, () => undefined);
  await expect(migrating).rejects.toMatchObject({ code: 'OUTBOX_PG_TABLE_UNSUITABLE', problems });
  const { stdout } = await command(outbox, ['status']).done;
  expect(stdout).toContain('several rows');
  const finding = findingOf(await examine(environmentOf(outbox)), 'postgres.ledger');
  expect(finding?.found).toContain('several rows');
  for (const statement of err!.problems!) await outbox.postgres.query(statement);
  await outbox.fill(1);
  await outbox.untilDelivered(4);
  expect(await outbox.delivered()).toEqual({ rows: 4, events: 4 });
});

test.concurrent('events are delivered and acknowledged while other tables and another day’s partition are locked', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query(
    'CREATE TABLE other (id int); DROP PUBLICATION outbox; CREATE PUBLICATION outbox FOR ALL TABLES WITH (publish_via_partition_root)',
  );
  expect((await command(outbox, ['repair'], { OUTBOX_INSERT_TIMEOUT_MS: '1000' }).done).code).toBe(0);
  const session = await outbox.postgres.connect();
  try {
    const { rows } = await session.query<{ day: string }>(
      "SELECT 'outbox.event_' || to_char((extract(epoch FROM now())::bigint / 86400 + 9) % 32, 'FM00') AS day",
    );
    await session.query(`BEGIN; LOCK TABLE ${rows[0]!.day}, other IN ACCESS EXCLUSIVE MODE`);
    outbox.stream();
    await outbox.fill(3);
    await outbox.untilDelivered(3);
    const end = await outbox.walEnd();
    await eventually('the publication was checked twice, and the slot moves', async () => outbox.confirmed(end));
    const locked = (await examine(environmentOf(outbox))).filter(({ id }) =>
      ['postgres.publication', 'postgres.retention', 'postgres.triggers'].includes(id),
    );
    expect(locked).toEqual([]);
    const { stderr } = await command(outbox, ['retention']).done;
    expect(stderr).toMatch(/OUTBOX_PG_LOCKED: process \d+ \(role .*\) holds a lock on outbox\.event_\d\d/);
  } finally {
    await session.query('ROLLBACK');
    session.release();
  }
});
