import { replicaState, type ReplicaState } from '../../clickhouse/replicas.ts';
import { literal } from '../../clickhouse/literal.ts';
import { wantedOf } from '../../clickhouse/quorum.ts';
import { bad, ok, query, type Finding } from './finding.ts';
import { hasFix } from './fixed-versions.ts';
import type { ClickHouseCheck, ClickHouseSubject } from './subjects.ts';

/** Longer, and readers of this replica see old rows. */
const MAX_DELAY_SECONDS = 60;
const MAX_QUEUE = 1000;

/** Replicas of the table and their coordination; nothing where the table is not replicated. */
export const REPLICA_CHECKS: readonly ClickHouseCheck[] = [
  { id: 'clickhouse.replicas', examine: replicas },
  { id: 'clickhouse.quorum', examine: quorum },
  { id: 'clickhouse.removed_parts', examine: removedParts },
];

async function replicas({ clickhouse, config, altered }: ClickHouseSubject): Promise<Finding[]> {
  const table = config.clickhouseTable;
  const row = await replicaState(clickhouse, table);
  if (row === undefined) return [];
  const id = 'clickhouse.replicas';
  if (row === 'unseen') {
    const why = 'A look-up cannot know whether a replica lags: GRANT SELECT ON system.replicas.';
    return [bad('error', id, 'the replicas may not be seen', why)];
  }
  const [setting] = await clickhouse.select<{ fsyncs: 0 | 1 }>(
    `SELECT toUInt8(extract(engine_full, 'min_compressed_bytes_to_fsync_after_fetch = (\\\\d+)') NOT IN ('', '0')) AS fsyncs
       FROM system.tables WHERE database = currentDatabase() AND name = {table:String}`,
    { table },
  );
  return findingsOf(id, row, { altered, fsyncsFetches: setting?.fsyncs === 1 });
}

function findingsOf(
  id: string,
  { replica, state, total, active, delaySeconds: delay, queue, lostParts: lost }: ReplicaState,
  { altered, fsyncsFetches }: { readonly altered: string; readonly fsyncsFetches: boolean },
): Finding[] {
  const found: Finding[] = [];
  if (state === 'no Keeper')
    found.push(
      bad(
        'error',
        id,
        `the replica "${replica}" has no session with Keeper`,
        'It takes no insert until it has one: look at Keeper and the network to it.',
      ),
    );
  else if (state === 'read only')
    found.push(
      bad(
        'error',
        id,
        `the replica "${replica}" is read-only`,
        'It takes no insert. Where Keeper has lost what it knew of the table, this brings it back.',
        query(`SYSTEM RESTORE REPLICA ${altered.split(' ON CLUSTER ')[0]!}`),
      ),
    );
  else if (active < total)
    found.push(
      bad(
        'warning',
        id,
        `${active} of ${total} replicas are there`,
        'What the others alone have cannot be read until they come back. A replica that never will: SYSTEM DROP REPLICA.',
      ),
    );
  if (delay > MAX_DELAY_SECONDS || queue > MAX_QUEUE)
    found.push(
      bad(
        'warning',
        id,
        `the replica "${replica}" is ${delay} s behind, with ${queue} tasks in its queue`,
        'Who reads it misses new events, and a look-up waits for it: look at system.replication_queue.',
      ),
    );
  if (lost > 0)
    found.push(
      bad(
        'warning',
        id,
        `${lost} parts were lost`,
        'No replica had them: `pg-outbox-clickhouse verify` says which events are missing, `repair` sends them.',
      ),
    );
  if (!fsyncsFetches)
    found.push(
      bad(
        'warning',
        id,
        'fetched parts are not flushed to the disk',
        'After a power cut of all replicas an acknowledged event may be gone.',
        query(`ALTER TABLE ${altered} MODIFY SETTING min_compressed_bytes_to_fsync_after_fetch = 1`),
      ),
    );
  return found.length > 0 ? found : [ok(id, `${active} of ${total} replicas are there, this one is ${delay} s behind`)];
}

/** Whether inserts with OUTBOX_INSERT_QUORUM can be taken. */
async function quorum({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.quorum';
  const { insertQuorum: size, clickhouseCluster: cluster, clickhouseTable: table } = config;
  if (size === 'off') return [];
  const row = await replicaState(clickhouse, table);
  if (row === 'unseen') return [];
  if (row === undefined) {
    const why =
      'Nothing is delivered: ClickHouse would ignore the quorum. Set OUTBOX_INSERT_QUORUM=off, or deliver into a replicated table.';
    return [bad('error', id, 'a quorum is set, and the table is not replicated', why)];
  }
  const wanted = wantedOf(size, row.total);
  const found = `${wanted} of ${row.total} replicas must have an insert, ${row.active} are there`;
  if (row.active < wanted)
    return [bad('error', id, found, 'Nothing is delivered until enough are there; events wait in Postgres.')];
  // a look-up asks all of them
  await clickhouse.select(
    `SELECT count() FROM clusterAllReplicas(${literal(cluster)}, system.replicas) SETTINGS skip_unavailable_shards = 1`,
  );
  return [ok(id, found)];
}

/** Without the fix, a profile that lets inserts try again at Keeper loses parts; those of the streamer do not. */
async function removedParts({ clickhouse, config }: ClickHouseSubject): Promise<Finding[]> {
  const id = 'clickhouse.removed_parts';
  if ((await replicaState(clickhouse, config.clickhouseTable)) === undefined) return [];
  const [row] = await clickhouse.select<{ version: string }>('SELECT version() AS version');
  const { version } = row!;
  if (hasFix(version)) return [ok(id, `${version} keeps a part whose commit has no answer`)];
  const why =
    'An insert whose commit in Keeper had no answer may be removed, though its token is known (ClickHouse#112149). The streamer’s inserts avoid that, and are counted; those of other programs may be lost. Update to 26.3.33.61, 26.6.5.114, 26.7.7.87, 26.8.3.98 or later.';
  return [bad('warning', id, `${version} has a fault that removes parts of replicated tables`, why)];
}
