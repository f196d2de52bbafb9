import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';
import { isReplicated } from './identity.ts';
import { literal } from './literal.ts';
import { untilHeld } from './quorum.ts';
import { OTHER_REPLICA } from './refusal.ts';

/**
 * Which parts a look-up may believe: those that Keeper knows for certain, or all that the replica shows. An insert that is answered is
 * among the parts that Keeper knows, whatever else there is.
 */
export type Parts = 'checked' | 'all';

/** How long a replica may take to fetch what others took, before that is told. */
const PATIENCE_MS = 10_000;
const POLL_MS = 50;
const SYNC = 'SYSTEM SYNC REPLICA {table:Identifier} LIGHTWEIGHT';

interface ReplicaRow {
  readonly replica: string;
  /** It cannot see what others took. */
  readonly isCutOff: 0 | 1;
  readonly hasPulled: 0 | 1;
  /** Nobody has written anything yet, or this replica has not seen that. */
  readonly isUnwritten: 0 | 1;
  readonly missing: number;
  /** Parts that Keeper may not know: it shows them, and removes those that are unknown. */
  readonly unchecked: number;
}

/**
 * The condition, for the WHERE of a look-up, that a replica answers which has all that any replica took before now, and nothing else:
 * of a replica that lags, rows would seem to be missing; one that lost Keeper in the middle of a commit shows rows that it will remove. Without replication it is `true`. Behind a load balancer each request may reach another
 * replica, so that the condition names all that were seen to be up to date; another one answers with an error, and the look-up is
 * worth another attempt.
 *
 * Where inserts have a quorum, what is found also counts only once so many replicas have it.
 *
 * Throws OUTBOX_CH_REPLICA_BEHIND, OUTBOX_CH_QUORUM, OUTBOX_CH_KEEPER_AWAY, or what the questions run into.
 * https://clickhouse.com/docs/operations/system-tables/replicas
 */
export async function whereCurrent(
  clickhouse: ClickHouse,
  table: string,
  signal?: AbortSignal,
  parts: Parts = 'checked',
): Promise<string> {
  const [target] = await clickhouse.select<{ engine: string }>(
    'SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
    signal,
  );
  const engine = target?.engine ?? '';
  if (!isReplicated(engine)) return 'true';
  if (engine.startsWith('Shared')) {
    await clickhouse.command(SYNC, { table });
    return 'true';
  }
  const proven = new Set<string>();
  const cutOff = new Set<URL>();
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { server } = clickhouse;
    const found = await ask(clickhouse, table, signal);
    if (found === undefined) return 'true';
    const { replica, isCutOff, hasPulled, isUnwritten, missing, unchecked } = found;
    if (isCutOff === 1) {
      cutOff.add(server);
      clickhouse.leave(server);
      if (!cutOff.has(clickhouse.server)) continue;
      throw new OutboxError('OUTBOX_CH_KEEPER_AWAY', {
        detail: `the replica "${replica}" of the table "${table}" has no session with Keeper`,
      });
    }
    // where requests take turns among replicas, all have had theirs when one comes again
    if (proven.has(replica)) {
      if (clickhouse.quorum !== undefined) await untilHeld(clickhouse, clickhouse.quorum, table, signal);
      return conditionOf(table, [...proven], parts);
    }
    if (isUnwritten === 1) await clickhouse.command(SYNC, { table });
    // it takes minutes; another one has what counts
    if (unchecked > 0 && parts === 'checked') clickhouse.leave(server);
    else if (missing === 0 && (hasPulled === 1 || isUnwritten === 1)) {
      proven.add(replica);
      continue;
    }
    if (performance.now() > until) {
      clickhouse.leave(server);
      throw new OutboxError('OUTBOX_CH_REPLICA_BEHIND', {
        detail: `the replica "${replica}" of the table "${table}" ${whyNot(found)}`,
      });
    }
    await sleep(POLL_MS, undefined, { signal });
  }
}

function whyNot({ missing, unchecked }: ReplicaRow): string {
  if (unchecked > 0) return `still has to check ${unchecked} of its parts, which Keeper may not know`;
  return missing === 0 ? 'lacks what others took' : `lacks ${missing} inserts that others took`;
}

async function ask(
  clickhouse: ClickHouse,
  table: string,
  signal: AbortSignal | undefined,
): Promise<ReplicaRow | undefined> {
  const [found] = await clickhouse.select<ReplicaRow>(
    `SELECT replica_name AS replica, toUInt8(is_session_expired OR zookeeper_exception != '') AS isCutOff,
            toUInt8(log_pointer > log_max_index) AS hasPulled, toUInt8(log_pointer = 0 AND log_max_index = 0) AS isUnwritten,
            inserts_in_queue AS missing, toUInt32(parts_to_check) AS unchecked
       FROM system.replicas WHERE database = currentDatabase() AND table = {table:String}`,
    { table },
    signal,
  );
  return found;
}

/** A scalar subquery is evaluated by whichever replica answers, also where it reads no row of the table. */
function conditionOf(table: string, replicas: readonly string[], parts: Parts): string {
  return `(SELECT throwIf(count() = 0, ${literal(OTHER_REPLICA)}) FROM system.replicas
            WHERE database = currentDatabase() AND table = ${literal(table)}
              ${parts === 'checked' ? 'AND parts_to_check = 0' : ''}
              AND replica_name IN (${replicas.map(literal).join(', ')})) = 0`;
}
