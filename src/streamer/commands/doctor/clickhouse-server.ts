import { ClickHouse } from '../../clickhouse/client.ts';
import { urlsOf } from '../../clickhouse/hosts.ts';
import { isReplicated } from '../../clickhouse/identity.ts';
import { bad, findingOf, ok, query, shell, type Finding } from './finding.ts';
import { literal } from '../../clickhouse/literal.ts';
import { refuseOld, versionOf } from '../../clickhouse/version.ts';
import type { ClickHouseCheck, ClickHouseSubject } from './subjects.ts';
import { OutboxError } from '../../../errors.ts';
import { isLocal } from '../../source/database.ts';
import { clockFinding } from './host.ts';

const FULL = 0.1;
const NEARLY_FULL = 0.2;
const TIMEOUT_MS = 5000;
/** What is slower than this and some is away. */
const HOST_TIMEOUT_MS = 1000;
/** A balancer that gives each connection another server shows it by then. */
const CONNECTIONS = 4;

/** What the server must be like. */
export const CLICKHOUSE_SERVER_CHECKS: readonly ClickHouseCheck[] = [
  { id: 'clickhouse.version', examine: version },
  { id: 'clickhouse.hosts', examine: hosts },
  { id: 'clickhouse.tls', examine: async (subject) => [tls(subject)] },
  { id: 'clickhouse.one_server', examine: oneServer },
  { id: 'clickhouse.clock', examine: clock },
  { id: 'clickhouse.disk', examine: disk },
];

async function version({ clickhouse }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.version';
  const text = await versionOf(clickhouse);
  try {
    refuseOld(text);
    return [ok(id, text)];
  } catch (error) {
    return [findingOf(id, error)];
  }
}

/** Each host that CLICKHOUSE_URL names, where there are several. */
async function hosts({ config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.hosts';
  const ring = new ClickHouse(config, HOST_TIMEOUT_MS);
  if (ring.size === 1) return [];
  try {
    const asked = new Set<URL>();
    while (!asked.has(ring.server) && !ring.away.has(ring.server.host)) {
      await ring.select('SELECT 1');
      asked.add(ring.server);
      ring.leave(ring.server);
    }
    if (ring.away.size === 0) return [ok(id, `all ${ring.size} hosts answer`)];
    const why = 'Events flow by another one, and stop where that is away, too.';
    return [...ring.away].map(([host, { message }]) => bad('warning', id, `${host} is away: ${message}`, why));
  } finally {
    await ring.close();
  }
}

function tls({ config }: ClickHouseSubject): Finding {
  const id = 'clickhouse.tls';
  const urls = urlsOf(config.clickhouseUrl);
  const [{ protocol }] = urls;
  if (protocol === 'https:') return ok(id, 'in use');
  if (urls.every(({ hostname }) => isLocal(hostname))) return ok(id, 'not in use, on this host');
  const why = 'Events and the password cross the network in plain text. The port of https is another, usually 8443.';
  const fix = shell(`export CLICKHOUSE_URL="$(echo "$CLICKHOUSE_URL" | sed 's/^http:/https:/; s/:8123/:8443/')"`);
  return bad('warning', id, 'not in use, to another host', why, fix);
}

/** Servers that do not replicate the table must not take turns. */
async function oneServer({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.one_server';
  const [table] = await clickhouse.select<{ engine: string }>(
    'SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table: config.clickhouseTable },
  );
  if (isReplicated(table?.engine ?? '')) return [];
  const names = new Set<string>();
  for (let count = 0; count < CONNECTIONS; count++) {
    const another = new ClickHouse(config, TIMEOUT_MS);
    try {
      while (clickhouse.away.has(another.server.host)) another.leave(another.server);
      const [row] = await another.select<{ name: string; id: string }>(
        'SELECT displayName() AS name, toString(serverUUID()) AS id',
      );
      names.add(`${row!.name} (${row!.id})`);
    } finally {
      await another.close();
    }
  }
  if (names.size === 1) return [ok(id, 'one server answers')];
  return [findingOf(id, new OutboxError('OUTBOX_CH_SEVERAL_SERVERS', { detail: [...names].join(', ') }))];
}

async function clock({ clickhouse }: ClickHouseSubject): Promise<Finding[]> {
  const began = Date.now();
  const [row] = await clickhouse.select<{ ms: string }>('SELECT toString(toUnixTimestamp64Milli(now64(3))) AS ms');
  return [clockFinding('clickhouse.clock', 'ClickHouse', { began, ended: Date.now(), theirs: Number(row!.ms) })];
}

async function disk({ clickhouse }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.disk';
  const disks = await clickhouse.select<{ name: string; free: number; gigabytes: number }>(
    `SELECT name, free_space / total_space AS free, floor(free_space / 1e9) AS gigabytes FROM system.disks
      WHERE total_space > 0 AND lower(type) = 'local'`,
  );
  return disks.map(({ name, free, gigabytes }) => {
    const found = `${gigabytes} GB free on the disk "${name}" (${Math.floor(free * 100)} %)`;
    if (free >= NEARLY_FULL) return ok(id, found);
    const why = 'On a full disk nothing is inserted nor merged; events wait in Postgres.';
    const largest = `SELECT database, table, formatReadableSize(sum(bytes_on_disk)) AS size FROM system.parts WHERE disk_name = ${literal(name)} GROUP BY ALL ORDER BY sum(bytes_on_disk) DESC LIMIT 10`;
    return bad(free < FULL ? 'error' : 'warning', id, found, why, query(largest));
  });
}
