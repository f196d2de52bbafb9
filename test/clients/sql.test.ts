import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';

const run = promisify(execFile);
const hasPsql = await run('psql', ['--version']).then(
  () => true,
  () => false,
);

let outbox: Outbox;

beforeAll(async () => {
  outbox = await Outbox.create();
  await outbox.postgres.query('CREATE TABLE orders (id uuid PRIMARY KEY, amount integer NOT NULL)');
});

afterEach(async () => {
  await outbox.postgres.query('TRUNCATE outbox.event, orders');
});

afterAll(async () => {
  await outbox[Symbol.asyncDispose]();
});

async function stored(): Promise<Record<string, unknown>[]> {
  const { rows } = await outbox.postgres.query(`
    SELECT event_id AS id, event_type AS type, (event_date_time AT TIME ZONE 'UTC')::text AS time, environment,
      event_context::text AS context, metadata_version::float8 AS version, subject, traceparent, tracestate
    FROM outbox.event ORDER BY tableoid, ctid`);
  return rows;
}

/** Each way runs a script, stops at the first error, and gives the selected rows, one a line. */
const WAYS: [string, boolean, (script: string) => Promise<string>][] = [
  [
    'psql',
    hasPsql,
    async (script) =>
      (await run('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', outbox.databaseUrl, '-c', script]))
        .stdout,
  ],
  [
    'a driver',
    true,
    async (script) => {
      const client = await outbox.postgres.connect();
      try {
        const results: unknown = await client.query({ text: script, rowMode: 'array' });
        const rows = [results].flat().flatMap((result) => (result as { rows: unknown[][] }).rows);
        return rows.map((row) => `${row.join('|')}\n`).join('');
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      } finally {
        client.release();
      }
    },
  ],
];

for (const [way, there, execute] of WAYS) {
  describe.runIf(there)(`outbox.emit through ${way}`, () => {
    test('it fills in defaults for two arguments, and a UUIDv7 where the server can make one', async () => {
      const id = (await execute(`SELECT outbox.emit('order.placed', '{"a": "\\u0000 ü"}')`)).trim();
      const { rows } = await outbox.postgres.query("SELECT current_setting('server_version_num')::int AS version");
      expect(id).toMatch(rows[0].version >= 180_000 ? /^.{14}7/ : /^.{14}4/);
      expect(await stored()).toEqual([
        {
          id,
          type: 'order.placed',
          time: expect.any(String),
          environment: '',
          context: '{"a": "\\u0000 ü"}',
          version: 1,
          subject: '',
          traceparent: null,
          tracestate: null,
        },
      ]);
      const { rows: recent } = await outbox.postgres.query(
        'SELECT event_date_time = recorded_at AS yes FROM outbox.event',
      );
      expect(recent).toEqual([{ yes: true }]);
    });

    test('it stores all nine arguments, given by name', async () => {
      const id = randomUUID();
      await execute(`SELECT outbox.emit(
        event_type => 'a', event_context => '{}', event_id => '${id}', event_date_time => '2026-01-02T03:04:05Z',
        environment => 'prod', metadata_version => 2, subject => 'order/7', traceparent => 'parent', tracestate => 'state')`);
      expect(await stored()).toEqual([
        {
          id,
          type: 'a',
          time: '2026-01-02 03:04:05',
          environment: 'prod',
          context: '{}',
          version: 2,
          subject: 'order/7',
          traceparent: 'parent',
          tracestate: 'state',
        },
      ]);
    });

    test('its event is stored or lost with its transaction or savepoint', async () => {
      await execute(`BEGIN; SELECT outbox.emit('undone', '{}'); ROLLBACK;
        BEGIN; SELECT outbox.emit('before', '{}');
        SAVEPOINT one; SELECT outbox.emit('undone', '{}'); ROLLBACK TO one;
        SELECT outbox.emit('after', '{}'); COMMIT`);
      expect((await stored()).map(({ type }) => type)).toEqual(['before', 'after']);
    });

    test.for([
      ["'', '{}'", 'event_type is empty'],
      ["NULL, '{}'", 'event_type is empty'],
      [`'a', '["canary"]'`, 'event_context is not a JSON object'],
      ["'a', NULL", 'event_context is not a JSON object'],
    ])('it raises an error without the contents for the arguments %s', async ([given, says]) => {
      const error: unknown = await execute(`SELECT outbox.emit(${given})`).catch((thrown: unknown) => thrown);
      const { message, stderr = message } = error as { message: string; stderr?: string };
      expect(stderr).toContain(`outbox.emit: ${says}`);
      expect(stderr).not.toContain('canary');
      expect(await stored()).toEqual([]);
    });

    test('it needs INSERT and USAGE, and ignores the search_path of the role', async () => {
      const role = `producer_of_${outbox.slot}`;
      await outbox.postgres.query(`CREATE ROLE ${role}; GRANT USAGE ON SCHEMA outbox TO ${role}`);
      try {
        const emit = `BEGIN; SET LOCAL ROLE ${role};
          CREATE TEMP TABLE event (event_type text);
          CREATE FUNCTION pg_temp.json_typeof(json) RETURNS text LANGUAGE sql AS $$ SELECT 'object' $$;
          SET LOCAL search_path = pg_temp, public;
          SELECT outbox.emit('a', '{}'); COMMIT`;
        await expect(execute(emit)).rejects.toThrow(/permission denied for table event/);
        await outbox.postgres.query(`GRANT INSERT ON outbox.event TO ${role}`);
        await execute(emit);
        expect(await stored()).toMatchObject([{ type: 'a' }]);
      } finally {
        await outbox.postgres.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
      }
    });

    test('the trigger of docs/clients.md emits an event for a row, and none after a rollback', async () => {
      const page = await readFile(new URL('../../docs/clients.md', import.meta.url), 'utf8');
      const trigger = [...page.matchAll(/```sql\n([^`]*?)```/g)]
        .map(([, sql]) => sql!)
        .find((sql) => sql.includes('TRIGGER'));
      const [kept, undone] = [randomUUID(), randomUUID()];
      await execute(trigger!);
      try {
        await execute(`INSERT INTO orders VALUES ('${kept}', 3)`);
        await execute(`BEGIN; INSERT INTO orders VALUES ('${undone}', 4); ROLLBACK`);
        const events = await stored();
        expect(events.map(({ type, context }) => [type, JSON.parse(String(context))])).toEqual([
          ['order.placed', { orderId: kept, amount: 3 }],
        ]);
      } finally {
        await outbox.postgres.query('DROP FUNCTION emit_order_placed CASCADE');
      }
    });
  });
}

test('outbox.emit fails when a trigger drops the row', async () => {
  await outbox.postgres.query(`
    CREATE FUNCTION public.drop_all() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER drop_all BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.drop_all()`);
  try {
    await expect(outbox.postgres.query("SELECT outbox.emit('dropped', '{}')")).rejects.toThrow(/a trigger or a rule/);
  } finally {
    await outbox.postgres.query('DROP FUNCTION public.drop_all() CASCADE');
  }
});
