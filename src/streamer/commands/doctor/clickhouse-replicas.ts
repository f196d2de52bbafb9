import { isReplicated } from '../../clickhouse/identity.ts';
import { bad, ok, query, type Finding } from './finding.ts';
import type { ClickHouseCheck, ClickHouseSubject } from './subjects.ts';

/** Longer, and readers of this replica see old rows. */
const MAX_DELAY_SECONDS = 60;
const MAX_QUEUE = 1000;

/** Replicas of the table and their coordination; nothing where the table is not replicated. */
export const REPLICA_CHECKS: readonly ClickHouseCheck[] = [{ id: 'clickhouse.replicas', examine: replicas }];

interface ReplicaRow {
  readonly replica: string;
  readonly isExpired: 0 | 1;
  readonly isReadOnly: 0 | 1;
  readonly exception: string;
  readonly total: number;
  readonly active: number;
  readonly delay: number;
  readonly queue: number;
  readonly lost: number;
  readonly fsyncsFetches: 0 | 1;
}

async function replicas({ clickhouse, config, altered }: ClickHouseSubject): Promise<Finding[]> {
  const table = config.clickhouseTable;
  const [target] = await clickhouse.select<{ engine: string }>(
    'SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
  );
  // of a SharedMergeTree there is no such row
  if (!isReplicated(target?.engine ?? '') || target!.engine.startsWith('Shared')) return [];
  const [row] = await clickhouse.select<ReplicaRow>(
    `SELECT replica_name AS replica, toUInt8(is_session_expired) AS isExpired, toUInt8(is_readonly) AS isReadOnly,
            zookeeper_exception AS exception, toUInt32(total_replicas) AS total, toUInt32(active_replicas) AS active,
            toUInt32(absolute_delay) AS delay, toUInt32(queue_size) AS queue, toUInt32(lost_part_count) AS lost,
            (SELECT toUInt8(extract(engine_full, 'min_compressed_bytes_to_fsync_after_fetch = (\\\\d+)') NOT IN ('', '0'))
               FROM system.tables WHERE database = currentDatabase() AND name = {table:String}) AS fsyncsFetches
       FROM system.replicas WHERE database = currentDatabase() AND table = {table:String}`,
    { table },
  );
  const id = 'clickhouse.replicas';
  if (row === undefined)
    return [
      bad(
        'error',
        id,
        'the replicas may not be seen',
        'A look-up cannot know whether a replica lags: GRANT SELECT ON system.replicas.',
      ),
    ];
  return findingsOf(id, row, altered);
}

function findingsOf(id: string, row: ReplicaRow, altered: string): Finding[] {
  const { replica, total, active, delay, queue, lost } = row;
  const found: Finding[] = [];
  if (row.isExpired === 1 || row.exception !== '')
    found.push(
      bad(
        'error',
        id,
        `the replica "${replica}" has no session with Keeper`,
        'It takes no insert until it has one: look at Keeper and the network to it.',
      ),
    );
  else if (row.isReadOnly === 1)
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
  if (row.fsyncsFetches === 0)
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
