import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';

interface Stored {
  type: string;
  text: string;
}

/** Alters the table between events, while the streamer runs; ClickHouse has each event once and in order. */
async function expectUndisturbed(outbox: Outbox, changes: readonly string[]): Promise<void> {
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(1, 'first');
  for (const [i, change] of changes.entries()) {
    await outbox.postgres.query(change);
    await outbox.fill(2, `after ${i}`);
  }
  await outbox.untilDelivered(1 + changes.length * 2);
  expect(await streamer.stop()).toBe(0);
  const rows = await outbox.select<Stored>(
    'SELECT event_type AS type, event_context_text AS text FROM events ORDER BY lsn, seq',
  );
  const expected = changes.flatMap((_, i) => [1, 2].map((n) => ({ type: `after ${i}`, text: `{"n" : ${n}}` })));
  expect(rows).toEqual([{ type: 'first', text: '{"n" : 1}' }, ...expected]);
  // the streamer never had to reconnect
  expect(streamer.logs.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
}

test('the streamer delivers each event once while the user adds, alters and drops columns of outbox.event', async () => {
  await using outbox = await Outbox.create();
  await expectUndisturbed(outbox, [
    'ALTER TABLE outbox.event ADD COLUMN tenant text',
    "ALTER TABLE outbox.event ADD COLUMN region text NOT NULL DEFAULT 'eu'",
    'ALTER TABLE outbox.event ADD COLUMN at timestamptz DEFAULT clock_timestamp()',
    'ALTER TABLE outbox.event ADD COLUMN n bigint GENERATED ALWAYS AS (metadata_version % 7) STORED',
    'ALTER TABLE outbox.event RENAME COLUMN tenant TO customer',
    'ALTER TABLE outbox.event ALTER COLUMN customer TYPE varchar(10)',
    'ALTER TABLE outbox.event DROP COLUMN customer, DROP COLUMN n',
    'ALTER TABLE outbox.event ADD COLUMN "odd "" name ü" text',
  ]);
});

test('the streamer delivers each event once while the user changes replica identity, indexes, checks and row security', async () => {
  await using outbox = await Outbox.create();
  await expectUndisturbed(outbox, [
    'ALTER TABLE outbox.event REPLICA IDENTITY FULL',
    'ALTER TABLE outbox.event REPLICA IDENTITY NOTHING',
    'ALTER TABLE outbox.event_03 REPLICA IDENTITY FULL',
    'ALTER TABLE outbox.event REPLICA IDENTITY DEFAULT',
    'CREATE INDEX mine ON outbox.event (event_type)',
    'ALTER TABLE outbox.event ADD CONSTRAINT small CHECK (metadata_version < 9)',
    'ALTER TABLE outbox.event ENABLE ROW LEVEL SECURITY',
    "COMMENT ON TABLE outbox.event IS 'mine'; ANALYZE outbox.event; CLUSTER outbox.event_03 USING event_03_event_type_idx",
    'VACUUM FULL outbox.event_03',
  ]);
});

test('the streamer delivers rows as inserted when they are later updated, deleted or truncated (invariant 1)', async () => {
  await using outbox = await Outbox.create();
  const { postgres } = outbox;
  // no streamer runs yet, so every change is in WAL before the streamer reads the first row
  for (const [type, change] of [
    ['updated', "UPDATE outbox.event SET event_context = '{}', event_type = 'changed'"],
    ['deleted', 'DELETE FROM outbox.event'],
    ['truncated', 'TRUNCATE outbox.event'],
  ] as const) {
    await outbox.fill(3, type);
    await postgres.query(change);
  }
  await postgres.query(`
    BEGIN;
    INSERT INTO outbox.event (event_type, event_context) VALUES ('gone in its own transaction', '{"n" : 1}');
    DELETE FROM outbox.event;
    COMMIT`);
  const streamer = outbox.stream();
  await outbox.fill(3, 'while streaming');
  await postgres.query('TRUNCATE outbox.event');
  await outbox.fill(3, 'after');
  await outbox.untilDelivered(16);
  expect(await streamer.stop()).toBe(0);
  const counts = await outbox.select(
    'SELECT event_type AS type, count() AS n, uniqExact(event_id) AS ids FROM events GROUP BY type ORDER BY min(lsn)',
  );
  const three = (type: string): unknown => ({ type, n: 3, ids: 3 });
  expect(counts).toEqual([
    three('updated'),
    three('deleted'),
    three('truncated'),
    { type: 'gone in its own transaction', n: 1, ids: 1 },
    three('while streaming'),
    three('after'),
  ]);
});

test('the streamer delivers a row a second time when an UPDATE moves it to another partition', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(1, 'moved');
  await outbox.postgres.query('UPDATE outbox.event SET bucket = (bucket + 1) % 32');
  await outbox.fill(1, 'after');
  await outbox.untilDelivered(2);
  expect(await streamer.stop()).toBe(0);
  const counts = await outbox.select(
    'SELECT event_type AS type, count() AS n, uniqExact(event_id) AS ids FROM events GROUP BY type ORDER BY min(lsn)',
  );
  expect(counts).toEqual([
    { type: 'moved', n: 2, ids: 1 },
    { type: 'after', n: 1, ids: 1 },
  ]);
});

test('the streamer delivers rows of a partition whose columns are in another order', async () => {
  await using outbox = await Outbox.create();
  const { postgres } = outbox;
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(1, 'before');
  await postgres.query(`
    ALTER TABLE outbox.event DETACH PARTITION outbox.event_11;
    CREATE TABLE outbox.mine (
      dropped int, bucket smallint NOT NULL, metadata_version bigint NOT NULL, event_context json NOT NULL,
      recorded_at timestamptz(6) NOT NULL DEFAULT now(), traceparent text, environment text NOT NULL, tracestate text, subject text NOT NULL DEFAULT '',
      event_id uuid NOT NULL DEFAULT gen_random_uuid(), event_date_time timestamptz(6) NOT NULL DEFAULT now(),
      event_type text NOT NULL, recorded_by text NOT NULL DEFAULT session_user
    );
    ALTER TABLE outbox.mine DROP COLUMN dropped;
    DO $$ DECLARE c record; BEGIN
      FOR c IN SELECT conname, pg_get_constraintdef(oid) AS def FROM pg_constraint
                WHERE conrelid = 'outbox.event'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE outbox.mine ADD CONSTRAINT %I %s', c.conname, c.def);
      END LOOP;
    END $$;
    ALTER TABLE outbox.event ATTACH PARTITION outbox.mine FOR VALUES IN (11)`);
  const insert = `(event_type, environment, event_context, metadata_version, bucket) VALUES ('mine', 'e', '{"n" : 2}', 7, 11)`;
  await postgres.query(`INSERT INTO outbox.event ${insert}`);
  await postgres.query(`INSERT INTO outbox.mine ${insert}`);
  await outbox.untilDelivered(3);
  expect(await streamer.stop()).toBe(0);
  expect(
    await outbox.select(
      'SELECT event_type, environment, event_context_text AS text, metadata_version AS v FROM events ORDER BY lsn OFFSET 1',
    ),
  ).toEqual([1, 2].map(() => ({ event_type: 'mine', environment: 'e', text: '{"n" : 2}', v: 7 })));
});
