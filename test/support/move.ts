import { Client, type Pool } from 'pg';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';

/** What a dump of the outbox brings into the database of another server, also one of another version. */
export async function moveOutbox(from: Pool, to: string): Promise<void> {
  await migratePostgres(to, 'unused', () => undefined);
  const client = new Client({ connectionString: to });
  await client.connect();
  try {
    await client.query("SELECT pg_drop_replication_slot('unused')");
    await client.query('DELETE FROM outbox.stream');
    for (const table of ['outbox.event', 'outbox.stream', 'outbox.quarantine']) {
      const { rows } = await from.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t`);
      await client.query(
        `INSERT INTO ${table} OVERRIDING SYSTEM VALUE SELECT (row::${table}).* FROM unnest($1::text[]) AS row`,
        [rows.map(({ row }) => row)],
      );
    }
  } finally {
    await client.end();
  }
}
