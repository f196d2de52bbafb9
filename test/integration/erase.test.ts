import { afterAll, beforeAll, expect, test } from 'vitest';
import { TABLE_DELIVERED, TABLE_WITNESSED } from '../../src/streamer/compare/digest.ts';
import { command } from '../support/command.ts';
import { killAt, type Held } from '../support/crash-point.ts';
import { Outbox } from '../support/outbox.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

let outbox: Outbox;
let streamer: Streamer;

beforeAll(async () => {
  outbox = await Outbox.create();
  await outbox.addView();
  streamer = outbox.stream();
});
afterAll(async () => outbox[Symbol.asyncDispose]());

async function emit(subject: string, count: number, type = 'test.erased'): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, subject, event_context) SELECT $1, $2, json_build_object('of', $2::text, 'n', n) FROM generate_series(1, $3::int) n`,
    [type, subject, count],
  );
}

/** Rows of a subject in each place, masked ones included. */
async function left(subject: string): Promise<{ outbox: number; quarantine: number; table: number }> {
  const { rows } = await outbox.postgres.query<{ outbox: number; quarantine: number }>(
    `SELECT (SELECT count(*)::int FROM outbox.event WHERE subject = $1) AS outbox, (SELECT count(*)::int FROM outbox.quarantine WHERE subject = $1) AS quarantine`,
    [subject],
  );
  const [table] = await outbox.select<{ n: number }>(
    `SELECT count() AS n FROM events WHERE subject = '${subject}' SETTINGS apply_deleted_mask = 0`,
  );
  return { ...rows[0]!, table: table!.n };
}

async function untilThere(subject: string, rows: number): Promise<void> {
  await eventually(`${rows} rows of ${subject}`, async () => (await left(subject)).table === rows);
}

/** Puts an event of a subject aside, as the streamer does with one that ClickHouse rejects, and takes it out of the table. */
async function quarantine(subject: string): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.quarantine (slot_name, source, lsn, seq, event_id, event_type, event_date_time, environment, event_context, metadata_version, subject,
       committed_at, trace_id, span_id, recorded_at, recorded_by, reason)
     SELECT slot_name, source, '0/1', 1, gen_random_uuid(), 'test.rejected', now(), '', '{}', 1, $1, now(), '', '', now(), 'x', 'a test' FROM outbox.stream`,
    [subject],
  );
}

const ERASE = ['--reason', 'request 123', '--yes', '--json'];

interface Erased {
  found: { outbox: number; quarantine: number; clickhouse: number; ofOthers: number; fed: string[] };
  erased: { erasure: string; outbox: number; events: number; tombstones: string; newer: number };
}

async function erase(args: string[], environment = {}): Promise<Erased & { code: number | null; stderr: string }> {
  const { code, stdout, stderr } = await command(outbox, ['erase', ...args], environment).done;
  return { code, stderr, ...(stdout === '' ? {} : JSON.parse(stdout)) } as Erased & {
    code: number | null;
    stderr: string;
  };
}

test('erase removes a subject from everywhere, and repair and verify find nothing of it', async () => {
  await emit('person/1', 3);
  await emit('person/2', 2);
  await untilThere('person/1', 3);
  // what Postgres has removed, what is in quarantine, what somebody has masked, and what is not delivered yet
  await outbox.postgres.query(
    "DELETE FROM outbox.event WHERE ctid = (SELECT min(ctid) FROM outbox.event WHERE subject = 'person/1')",
  );
  await quarantine('person/1');
  await outbox.clickhouse.command({ query: "DELETE FROM events WHERE subject = 'person/1' AND event_context.n = 2" });
  const digests = await outbox.select<{ d: string }>(
    `SELECT hex(concat(${TABLE_WITNESSED}, ${TABLE_DELIVERED})) AS d FROM events WHERE subject = 'person/1' ORDER BY d SETTINGS apply_deleted_mask = 0`,
  );

  const dry = await erase(['--subject', 'person/1', '--dry-run', '--json']);
  expect(dry).toMatchObject({
    code: 0,
    erased: null,
    found: { outbox: 2, quarantine: 1, clickhouse: 3, fed: [expect.stringContaining('.counts')] },
  });
  expect(await left('person/1')).toEqual({ outbox: 2, quarantine: 1, table: 3 });

  await streamer.kill();
  await emit('person/1', 2);
  streamer = outbox.stream();
  const { code, erased } = await erase(['--subject', 'person/1', ...ERASE]);
  expect({ code, ...erased }).toMatchObject({ code: 0, outbox: 4, quarantine: 1, events: 5, newer: 0 });
  expect(await left('person/1')).toEqual({ outbox: 0, quarantine: 0, table: 0 });
  expect(await left('person/2')).toMatchObject({ outbox: 2, table: 2 });

  const tombs = await outbox.select<{ d: string }>(
    'SELECT hex(concat(witnessed, delivered)) AS d FROM events_erased FINAL ORDER BY d',
  );
  expect(tombs.map(({ d }) => d)).toEqual(expect.arrayContaining(digests.map(({ d }) => d)));
  const { rows } = await outbox.postgres.query(
    'SELECT id, filter, reason, events::int, tombstones, ended_at IS NOT NULL AS ended FROM outbox.erasure',
  );
  expect(rows).toMatchObject([
    { id: erased.erasure, reason: 'request 123', events: 5, tombstones: erased.tombstones, ended: true },
  ]);
  expect(JSON.stringify(rows)).not.toContain('person');
  expect(await outbox.select('SELECT erasure, reason, events, tombstones, filter FROM events_erasures FINAL')).toEqual([
    { erasure: rows[0].id, reason: 'request 123', events: 5, tombstones: erased.tombstones, filter: rows[0].filter },
  ]);
  // what ClickHouse keeps of finished mutations names nobody
  expect(
    JSON.stringify(
      await outbox.select(
        "SELECT command FROM system.mutations WHERE database = currentDatabase() AND command LIKE '%IN PARTITION%'",
      ),
    ),
  ).not.toContain('person');

  const repaired = await command(outbox, ['repair', '--json']).done;
  expect(JSON.parse(repaired.stdout)).toMatchObject({ missing: 0, extra: 0 });
  expect(await command(outbox, ['verify']).done).toMatchObject({ code: 0 });
  expect(await erase(['--subject', 'person/1', ...ERASE])).toMatchObject({ code: 0, erased: null });
});
