import { DEFAULT_SCHEMA } from '../schema-name.ts';
import { failed, tail } from './log.ts';
import { importPg } from './packages.ts';
import type { StreamerSettings } from './streamer.ts';
import { fetchUrl } from './url.ts';
import { until } from './wait.ts';

const TIMEOUT_MS = 60_000;
const POLL_MS = 20;

/** What is asked of ClickHouse, whose client the library does not bring along. */
async function ask(clickhouseUrl: string, query: string, parameters: Record<string, string> = {}): Promise<string> {
  const form = new FormData();
  form.set('query', query);
  for (const [name, value] of Object.entries(parameters)) form.set(`param_${name}`, value);
  const response = await fetch(fetchUrl(clickhouseUrl), { method: 'POST', body: form });
  const answer = (await response.text()).trim();
  if (!response.ok) throw failed('ClickHouse refused a query:', answer.split('\n'));
  return answer;
}

/**
 * Resolves when what is committed now is in ClickHouse, or in quarantine. The slot says so, but only after seconds; until
 * then all events are looked for by their ids, and no insert may be under way, because views come last in it.
 */
export async function untilDelivered(settings: StreamerSettings, log: string): Promise<void> {
  const { DATABASE_URL = '', CLICKHOUSE_URL = '', OUTBOX_CLICKHOUSE_TABLE: table = 'events' } = settings;
  const { OUTBOX_SCHEMA: schema = DEFAULT_SCHEMA } = settings;
  const pg = await importPg();
  const client = new pg.Client(DATABASE_URL);
  await client.connect();
  try {
    const { rows } = await client.query<{ lsn: string; count: string; ids: string }>(
      `SELECT pg_current_wal_insert_lsn() AS lsn, count(*) AS count, format('[%s]', string_agg(quote_literal(event_id), ',')) AS ids
         FROM (SELECT event_id FROM ${schema}.event EXCEPT SELECT event_id FROM ${schema}.quarantine) AS events`,
    );
    const { lsn, count, ids } = rows[0]!;
    const isDelivered = async (): Promise<boolean> => {
      const { rowCount } = await client.query('SELECT FROM pg_stat_replication WHERE replay_lsn >= $1::pg_lsn', [lsn]);
      if (rowCount! > 0) return true;
      const present = 'SELECT uniqExact(event_id) FROM {table:Identifier} WHERE event_id IN {ids:Array(UUID)}';
      if ((await ask(CLICKHOUSE_URL, present, { table, ids })) !== count) return false;
      return (await ask(CLICKHOUSE_URL, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'")) === '0';
    };
    if (await until(isDelivered, TIMEOUT_MS, POLL_MS)) return;
    throw failed(`Not everything was delivered within ${TIMEOUT_MS / 1000} s; the end of ${log}:`, await tail(log));
  } finally {
    await client.end();
  }
}
