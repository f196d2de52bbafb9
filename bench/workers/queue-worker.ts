/** Empties `peer.queue` into ClickHouse: locks some rows, inserts them, deletes them, commits. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { given, say } from '../worker.ts';

const BATCH_ROWS = 1000;
const EVERY_MS = 1000;

interface Row {
  readonly id: string;
  readonly event_id: string;
  readonly event_type: string;
  readonly event_date_time: Date;
  readonly environment: string;
  readonly event_context: unknown;
  readonly metadata_version: number;
  readonly recorded_at: Date;
}

const clickhouse = createClient({ url: given('CLICKHOUSE_URL') });
const db = new Client(given('DATABASE_URL'));
await db.connect();
say('attached');
for (;;) {
  await db.query('BEGIN');
  const { rows } = await db.query<Row>(
    `SELECT id, event_id, event_type, event_date_time, environment, event_context, metadata_version, recorded_at
       FROM peer.queue ORDER BY id LIMIT ${BATCH_ROWS} FOR UPDATE SKIP LOCKED`,
  );
  if (rows.length > 0) {
    await clickhouse.insert({
      table: 'events',
      format: 'JSONEachRow',
      values: rows.map((row) => ({
        event_id: row.event_id,
        event_type: row.event_type,
        event_date_time: row.event_date_time,
        environment: row.environment,
        event_context_text: JSON.stringify(row.event_context),
        metadata_version: row.metadata_version,
        committed_at: row.recorded_at,
      })),
      clickhouse_settings: { date_time_input_format: 'best_effort' },
    });
    await db.query('DELETE FROM peer.queue WHERE id = ANY($1)', [rows.map(({ id }) => id)]);
  }
  await db.query('COMMIT');
  if (rows.length < BATCH_ROWS) await sleep(EVERY_MS);
}
