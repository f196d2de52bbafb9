import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { number } from './figures.ts';
import type { Source } from './source.ts';
import type { Warehouse } from './warehouse.ts';

const PACKAGES = ['pg', '@clickhouse/client', 'pg-logical-replication', 'pg-transactional-outbox'];

/** Hardware and versions: what the figures depend on besides the code. */
export async function machine(source: Source, warehouse: Warehouse): Promise<Record<string, string>> {
  const { rows } = await source.db.query<{ version: string; fsync: string }>(
    "SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync",
  );
  const [clickhouse] = await warehouse.select<{ version: string }>('SELECT version() AS version');
  return {
    'pg-outbox-clickhouse': versionOf('../package.json'),
    processors: `${cpus().length} × ${cpus()[0]?.model}`,
    memory: `${number(totalmem() / 2 ** 30)} GiB`,
    system: `Linux ${release()}`,
    Node: process.version,
    Postgres: `${rows[0]!.version}, fsync ${rows[0]!.fsync}, wal_level logical, all on this machine over TCP`,
    ClickHouse: `${clickhouse!.version}, embedded (libchdb), \`fsync_after_insert = 1\` in the table`,
    ...Object.fromEntries(PACKAGES.map((name) => [name, versionOf(`../node_modules/${name}/package.json`)])),
  };
}

function versionOf(path: string): string {
  const { version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string };
  return version;
}
