import { Client } from 'pg';
import { readConfig, type Config } from '../../src/streamer/config.ts';
import { Retention } from '../../src/streamer/retention/retention.ts';
import type { RetentionReport } from '../../src/streamer/retention/removal.ts';
import type { Outbox } from './outbox.ts';

/** The streamer's own retention would come before what a test wants to see. */
export const OFF = { OUTBOX_RETENTION_DAYS: '0' };
export const ROW = '(event_type, event_context, recorded_at, bucket)';
export const VALUES = `SELECT $1, '{}', now() - make_interval(hours => 24 * $2::int), (extract(epoch FROM now())::bigint / 86400 - $2) % 32
                  FROM generate_series(1, $3::int)`;

export function configOf(outbox: Outbox): Config {
  const { databaseUrl: DATABASE_URL, clickhouseUrl: CLICKHOUSE_URL, slot: OUTBOX_SLOT } = outbox;
  return readConfig({ DATABASE_URL, CLICKHOUSE_URL, OUTBOX_SLOT });
}

/** A producer that fails where it would have to wait for a lock. */
export async function connect(outbox: Outbox, lockTimeoutMs = 200): Promise<Client> {
  const client = new Client({ connectionString: outbox.databaseUrl, options: `-c lock_timeout=${lockTimeoutMs}ms` });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** One run, as the command and the streamer make it. */
export async function retain(
  outbox: Outbox,
  options: { waitMs?: number; isDry?: boolean } = {},
): Promise<RetentionReport> {
  return new Retention(configOf(outbox)).run({ signal: new AbortController().signal, ...options });
}

/** Events of so many days ago, as if they had been emitted then. */
export async function fillDaysAgo(outbox: Outbox, days: number, count: number, type = `${days} days`): Promise<void> {
  await outbox.postgres.query(`INSERT INTO outbox.event ${ROW} ${VALUES}`, [type, days, count]);
}

/** The partition of events of so many days ago. */
export async function bucketOf(outbox: Outbox, days: number): Promise<string> {
  const { rows } = await outbox.postgres.query<{ name: string }>(
    `SELECT 'outbox.event_' || lpad(((extract(epoch FROM now())::bigint / 86400 - $1) % 32)::text, 2, '0') AS name`,
    [days],
  );
  return rows[0]!.name;
}

/** How many events of each type outbox.event has. */
export async function kept(outbox: Outbox): Promise<Record<string, number>> {
  const { rows } = await outbox.postgres.query<{ type: string; n: number }>(
    'SELECT event_type AS type, count(*)::int AS n FROM outbox.event GROUP BY 1 ORDER BY 1',
  );
  return Object.fromEntries(rows.map(({ type, n }) => [type, n]));
}
