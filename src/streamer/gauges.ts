import type { ClickHouse } from './clickhouse/client.ts';
import { mostParts } from './clickhouse/parts.ts';
import { replicaState } from './clickhouse/replicas.ts';
import { Detached } from './delivery/detached.ts';
import { TableIdentity } from './delivery/table-identity.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Logger } from './observe/log.ts';
import type { IdleGate } from './observe/idle-gate.ts';
import type { Measures } from './observe/measures.ts';
import { PeriodicCheck } from './observe/periodic-check.ts';
import type { Database } from './source/database.ts';
import { oldestTransaction } from './source/oldest-transaction.ts';

const SAMPLE_EVERY_MS = 10_000;

export interface GaugeSources {
  readonly ledger: Pick<Ledger, 'glanceAtQuarantine' | 'state' | 'isQuarantined'>;
  readonly db: Database;
  readonly clickhouse: ClickHouse;
  readonly table: string;
  readonly source: string;
  readonly measures: Measures;
  readonly log: Logger;
  /** Where ClickHouse may idle. */
  readonly gate: IdleGate | undefined;
  /** The session is over. */
  readonly signal: AbortSignal;
}

/**
 * Samples, now and at intervals, what only operators want to know. Where it may not ask, or nobody answers, the last sample
 * stays: delivery does not depend on it nor wait for it, and says by itself what is wrong.
 */
export function sampleGauges({
  ledger,
  db,
  clickhouse,
  table,
  source,
  measures,
  log,
  gate,
  signal,
}: GaugeSources): PeriodicCheck {
  const identity = new TableIdentity({ clickhouse, table, source, log, signal }, ledger);
  const detached = new Detached({ clickhouse, table, log, signal });
  const sample = async (): Promise<void> => {
    const isAsked = gate === undefined || gate.isOpen;
    const [quarantined, oldest, parts, replica] = await Promise.allSettled([
      ledger.glanceAtQuarantine(),
      oldestTransaction(db),
      isAsked ? mostParts(clickhouse, table, signal) : measures.parts,
      isAsked ? replicaState(clickhouse, table, signal) : measures.replica,
      isAsked ? identity.observe() : undefined,
      isAsked ? detached.observe() : undefined,
    ]);
    // what an attachment knew ends with it
    if (signal.aborted) return;
    if (quarantined.status === 'fulfilled') measures.quarantined = quarantined.value;
    if (oldest.status === 'fulfilled') measures.openSeconds = oldest.value?.seconds ?? 0;
    if (parts.status === 'fulfilled') measures.parts = parts.value;
    if (replica.status === 'fulfilled') measures.replica = replica.value === 'unseen' ? undefined : replica.value;
  };
  const sampling = new PeriodicCheck(SAMPLE_EVERY_MS, sample, () => undefined);
  void sampling.run();
  return sampling;
}
