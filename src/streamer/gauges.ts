import type { ClickHouse } from './clickhouse/client.ts';
import { mayIdle } from './clickhouse/idling.ts';
import { mostParts } from './clickhouse/parts.ts';
import { replicaState } from './clickhouse/replicas.ts';
import type { Config } from './config.ts';
import { Detached } from './delivery/detached.ts';
import { TableIdentity } from './delivery/table-identity.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Logger } from './observe/log.ts';
import { IdleGate } from './observe/idle-gate.ts';
import { PeriodicCheck } from './observe/periodic-check.ts';
import type { Readiness } from './observe/readiness.ts';
import type { Database } from './source/database.ts';
import { oldestTransaction } from './source/oldest-transaction.ts';

const SAMPLE_EVERY_MS = 10_000;

export interface GaugeSources {
  readonly ledger: Pick<Ledger, 'glanceAtQuarantine' | 'state' | 'movedAtMs' | 'isAside'>;
  readonly db: Database;
  readonly clickhouse: ClickHouse;
  readonly table: string;
  readonly source: string;
  readonly config: Config;
  readonly readiness: Readiness;
  /** Looks at the target, for the next insert. */
  readonly observeTarget: () => Promise<void>;
  readonly log: Logger;
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
  config,
  readiness,
  observeTarget,
  log,
  signal,
}: GaugeSources): PeriodicCheck {
  const { measures } = readiness;
  const gate = mayIdle(config) ? new IdleGate(() => readiness.isClickHouseAwaited) : undefined;
  const identity = new TableIdentity({ clickhouse, table, source, log, readiness, signal }, ledger);
  const detached = new Detached({ clickhouse, table, log, signal });
  const sample = async (): Promise<void> => {
    const isAsked = gate === undefined || gate.isOpen;
    const [quarantined, oldest, parts, replica] = await Promise.allSettled([
      ledger.glanceAtQuarantine(),
      oldestTransaction(db),
      isAsked ? mostParts(clickhouse, table, signal) : measures.parts,
      isAsked ? replicaState(clickhouse, table, signal) : measures.replica,
      isAsked ? observeTarget() : undefined,
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
