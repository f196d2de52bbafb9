import { OutboxError } from '../../../errors.ts';
import type { ClickHouse } from '../../clickhouse/client.ts';
import type { Config } from '../../config.ts';
import { INSERT } from '../../delivery/send.ts';
import type { Source } from './source.ts';

/** Why the console's roles may retry nothing; null where they may. Throws OUTBOX_PG_*. */
export async function rolesReadOnly(source: Source, clickhouse: ClickHouse, config: Config): Promise<string | null> {
  const [row] = await source.query<{ role: string; may: boolean }>(
    `SELECT current_user AS role, has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE') AS may
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'outbox' AND c.relname = 'quarantine'`,
  );
  if (row?.may !== true) return `the role ${row?.role ?? ''} may only read in Postgres`;
  try {
    await clickhouse.insertNothing(INSERT, { table: config.clickhouseTable }, AbortSignal.timeout(3000));
  } catch (error) {
    // what else is in the way, a retry tells
    if (error instanceof OutboxError && error.code === 'OUTBOX_CH_AUTH') return 'the user of ClickHouse may only read';
  }
  return null;
}
