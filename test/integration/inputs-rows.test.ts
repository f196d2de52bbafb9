import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { Outbox } from '../support/outbox.ts';

const VALUES = '(event_type, event_context)';

async function types(outbox: Outbox): Promise<string[]> {
  const rows = await outbox.select<{ type: string }>('SELECT event_type AS type FROM events ORDER BY lsn, seq');
  return rows.map(({ type }) => type);
}

test('the streamer delivers each row in commit order, whichever kind of statement inserted it', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const { postgres } = outbox;
  await postgres.query(`INSERT INTO outbox.event ${VALUES} VALUES ('by hand', '{}'), ('by hand 2', '{}')`);
  await postgres.query(
    `INSERT INTO outbox.event ${VALUES} SELECT 'select ' || n, '{}' FROM generate_series(1, 3) n ORDER BY n`,
  );
  await postgres.query(
    `WITH moved AS (INSERT INTO outbox.event ${VALUES} VALUES ('cte', '{}') RETURNING event_type) SELECT FROM moved`,
  );
  await postgres.query(`
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO outbox.event ${VALUES} VALUES (TG_TABLE_NAME || ' ' || lower(TG_OP), '{}');
      RETURN NULL;
    END $$;
    CREATE TRIGGER noted AFTER INSERT ON parent FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER noted AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION note();
    CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION note();
    CREATE PROCEDURE emit() LANGUAGE plpgsql AS $$
    BEGIN
      FOR i IN 1..4 LOOP
        INSERT INTO outbox.event ${VALUES} VALUES ('procedure ' || i, '{}');
        IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
      END LOOP;
    END $$;
  `);
  await postgres.query('INSERT INTO parent VALUES (1)');
  await postgres.query('INSERT INTO child VALUES (1)');
  await postgres.query('DELETE FROM parent');
  await postgres.query('CALL emit()');
  await postgres.query("INSERT INTO outbox.event_07 (event_type, event_context, bucket) VALUES ('partition', '{}', 7)");
  const expected = [
    'by hand',
    'by hand 2',
    'select 1',
    'select 2',
    'select 3',
    'cte',
    'parent insert',
    'child insert',
    'child delete',
    'procedure 1',
    'procedure 3',
    'partition',
  ];
  await outbox.untilDelivered(expected.length);
  expect(await streamer.stop()).toBe(0);
  expect(await types(outbox)).toEqual(expected);
});

test('the streamer delivers rows of COPY in order and with their escapes, from text, CSV and binary', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const { postgres } = outbox;
  const { rows } = await postgres.query("SELECT current_setting('data_directory') || '/copied' AS file");
  const file = `'${rows[0].file}'`;
  const source = `SELECT CASE WHEN n % 2 = 0 THEN E'tab\\t \\\\N \\n' ELSE n::text END AS event_type, json_build_object('n', n, 's', E'\\t\\\\') AS event_context FROM generate_series(1, 2000) n`;
  for (const format of ['text', 'csv', 'binary']) {
    await postgres.query(`COPY (${source}) TO ${file} (FORMAT ${format})`);
    await postgres.query(`COPY outbox.event ${VALUES} FROM ${file} (FORMAT ${format})`);
  }
  await outbox.untilDelivered(6000);
  expect(await streamer.stop()).toBe(0);
  const stored = await postgres.query(`SELECT event_type AS type, event_context::text AS text FROM (${source}) s`);
  const arrived = await outbox.select(
    'SELECT event_type AS type, event_context_text AS text FROM events ORDER BY lsn, seq',
  );
  expect(arrived).toEqual([...stored.rows, ...stored.rows, ...stored.rows]);
});

test('the streamer delivers exactly the subtransactions that a large transaction has kept (invariant 1)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_ROWS: '97' });
  await streamer.attached();
  await outbox.postgres.query(`
    DO $$
    BEGIN
      FOR i IN 1..1000 LOOP
        BEGIN
          INSERT INTO outbox.event ${VALUES} VALUES ('outer ' || i, json_build_object('pad', repeat('x', 100)));
          BEGIN
            INSERT INTO outbox.event ${VALUES} VALUES ('inner ' || i, '{}');
            IF i % 3 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
          EXCEPTION WHEN raise_exception THEN NULL;
          END;
          IF i % 5 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
      END LOOP;
    END $$`);
  const expected = Array.from({ length: 1000 }, (_, i) => i + 1).flatMap((i) => {
    if (i % 5 === 0) return [];
    return i % 3 === 0 ? [`outer ${i}`] : [`outer ${i}`, `inner ${i}`];
  });
  await outbox.untilDelivered(expected.length);
  expect(await streamer.stop()).toBe(0);
  expect(await types(outbox)).toEqual(expected);
});

test('the streamer delivers prepared transactions once they commit, also after a restart, and no others (invariant 1)', async () => {
  await using postgres = await startPostgres({ settings: { max_prepared_transactions: 5 } });
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const first = outbox.stream();
  await first.attached();
  const client = await outbox.postgres.connect();
  for (const name of ['kept', 'undone', 'kept later']) {
    await client.query('BEGIN');
    await client.query(`INSERT INTO outbox.event ${VALUES} VALUES ('${name}', '{}'), ('${name}', '{}')`);
    await client.query(`PREPARE TRANSACTION '${name}'`);
  }
  client.release();
  await outbox.fill(1, 'between');
  await outbox.untilDelivered(1);
  await outbox.postgres.query("COMMIT PREPARED 'kept'");
  await outbox.postgres.query("ROLLBACK PREPARED 'undone'");
  await outbox.untilDelivered(3);
  expect(await first.stop()).toBe(0);
  await postgres.stop();
  await postgres.start();
  const second = outbox.stream();
  await second.attached();
  await outbox.postgres.query("COMMIT PREPARED 'kept later'");
  await outbox.untilDelivered(5);
  expect(await second.stop()).toBe(0);
  expect(await types(outbox)).toEqual(['between', 'kept', 'kept', 'kept later', 'kept later']);
});

test('the streamer delivers no row inserted into a detached partition, even after it is attached again', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const insert = (type: string, table = 'event'): Promise<unknown> =>
    outbox.postgres.query(
      `INSERT INTO outbox.${table} (event_type, event_context, bucket) VALUES ('${type}', '{}', 9)`,
    );
  await insert('before');
  await outbox.postgres.query('ALTER TABLE outbox.event DETACH PARTITION outbox.event_09');
  await insert('detached', 'event_09');
  // Postgres rejects an event for this bucket meanwhile
  await expect(insert('nowhere')).rejects.toMatchObject({ code: '23514' });
  await outbox.postgres.query('ALTER TABLE outbox.event ATTACH PARTITION outbox.event_09 FOR VALUES IN (9)');
  await insert('after');
  await insert('after, directly', 'event_09');
  // delivery is in order: once the later rows have arrived, the detached one cannot follow
  await outbox.untilDelivered(3);
  expect(await streamer.stop()).toBe(0);
  expect(await types(outbox)).toEqual(['before', 'after', 'after, directly']);
  const { rows } = await outbox.postgres.query('SELECT count(*)::int AS n FROM outbox.event');
  expect(rows).toEqual([{ n: 4 }]);
});
