import { OutboxError, policyOf } from '../../../errors.ts';
import type { Lsn } from '../../../lsn.ts';
import { absentTable } from '../../clickhouse/absence.ts';
import type { ClickHouse } from '../../clickhouse/client.ts';
import { replicaState, type ReplicaState } from '../../clickhouse/replicas.ts';
import type { Config } from '../../config.ts';
import { holderOf, type Holder } from '../../ledger/holder.ts';
import { overviewOf, type LedgerOverview } from '../../ledger/overview.ts';
import { noLedger, slotGone } from '../../ledger/row.ts';
import { refuseOtherShares, sharesOf } from '../../ledger/shares.ts';
import { publicationFault } from '../../ledger/unreadable.ts';
import type { SlotHealth } from '../../observe/readiness.ts';
import { reasonOf, type Reason } from '../../observe/reason.ts';
import type { Database } from '../../source/database.ts';
import { oldestTransaction, type OpenTransaction } from '../../source/oldest-transaction.ts';
import { checkPublication } from '../../source/publication.ts';
import type { SlotWatch } from '../../source/slot-watch.ts';
import { checkSlot, slotForeign, type Slot } from '../../source/slot.ts';

/** ClickHouse must answer within this time. */
export const CLICKHOUSE_DEADLINE_MS = 3000;
/** Where the last delivered event is not in the table (it is in quarantine), it is looked for so far back. */
const NEARBY_BYTES = 256 * 1024 * 1024;

/** What Postgres knows. */
export interface PostgresState {
  readonly holder: Holder;
  readonly slot: SlotHealth | undefined;
  /** Why the slot cannot be streamed from, or does not bring all events. */
  readonly slotFault: Reason | undefined;
  readonly ledger: LedgerOverview;
  readonly oldestTransaction: OpenTransaction | undefined;
}

/** What ClickHouse knows. */
export interface ClickHouseState {
  readonly version: string;
  /** ms since 1970; undefined while the table has no part. */
  readonly lastPartMs: number | undefined;
  /** Of the last event of this source that is there. */
  readonly committedMs: number | undefined;
  readonly deliveredMs: number | undefined;
  /** Undefined where the table is not replicated, or they may not be seen. */
  readonly replica: ReplicaState | undefined;
}

/** Throws OUTBOX_PG_*, also when the outbox was not migrated. */
export async function askPostgres(
  db: Database,
  { slot: slotName }: Config,
  slotWatch: SlotWatch,
): Promise<PostgresState> {
  const ledger = await overviewOf(db, slotName);
  if (ledger === undefined) {
    await refuseOtherShares(db, slotName);
    throw noLedger(db, slotName);
  }
  const { slot, fault } = await slotOf(db, slotName);
  const sourceFault = fault ?? (await publicationFaultOf(db, ledger));
  return {
    holder: await holderOf(db, slotName),
    slot: slot === undefined ? undefined : slotWatch.observe(slot, performance.now()),
    slotFault: sourceFault,
    ledger,
    oldestTransaction: await oldestTransaction(db),
  };
}

async function slotOf(db: Database, name: string): Promise<{ slot?: Slot; fault?: Reason }> {
  try {
    const slot = await checkSlot(db, name);
    if (slot === undefined) return { fault: reasonOf(await slotGone(db, name), db.schema) };
    const { foreignHolder } = slot;
    return foreignHolder === undefined ? { slot } : { slot, fault: reasonOf(slotForeign(name, foreignHolder)) };
  } catch (error) {
    if (error instanceof OutboxError && error.code === 'OUTBOX_SLOT_INVALID') return { fault: reasonOf(error) };
    throw error;
  }
}

/** What of the table and the publication keeps a streamer from attaching. */
async function publicationFaultOf(db: Database, { slot, publication }: LedgerOverview): Promise<Reason | undefined> {
  try {
    const { identity } = await checkPublication(db, slot);
    const fault = publication === undefined ? undefined : publicationFault(publication, identity);
    return fault && reasonOf(fault);
  } catch (error) {
    if (error instanceof OutboxError && policyOf(error.code) === 'reconnect patiently') return reasonOf(error);
    throw error;
  }
}

/** One of the slots that deliver an outbox together. */
export interface ShareState {
  readonly slot: string;
  readonly streaming: boolean;
  /** WAL that is not delivered. */
  readonly waitingBytes: number;
  readonly quarantined: number;
  /** Others deliver what is committed later: it goes once it is delivered. */
  readonly ending: boolean;
  /** It delivers nothing more, and nobody else has taken over: `reshard` was ended before it handed over. */
  readonly stopped: boolean;
}

/** All shares of the outbox; empty where it is not delivered in shares. Throws OUTBOX_PG_*. */
export async function askShares(db: Database, { slot }: Pick<Config, 'slot'>): Promise<ShareState[]> {
  const rows = await sharesOf(db, slot);
  if (rows.every(({ count, ends }) => count === 1 && ends === undefined)) return [];
  const states: ShareState[] = [];
  for (const row of rows) {
    const ledger = await overviewOf(db, row.slot);
    if (ledger === undefined) continue;
    const { reached, walsender } = await holderOf(db, row.slot);
    states.push({
      slot: row.slot,
      streaming: walsender !== undefined,
      waitingBytes: Math.max(0, ledger.walEnd - reached),
      quarantined: ledger.quarantined,
      ending: row.ends !== undefined,
      stopped: row.ends !== undefined && !row.isReplaced,
    });
  }
  return states;
}

/** Throws OUTBOX_CH_*, also when there is no answer in time, and OUTBOX_FLOW_SLOW when there is one to the first question alone. */
export async function askClickHouse(
  clickhouse: ClickHouse,
  table: string,
  ledger: LedgerOverview | undefined,
): Promise<ClickHouseState> {
  const signal = AbortSignal.timeout(CLICKHOUSE_DEADLINE_MS);
  let version: string | undefined;
  try {
    const [server] = await clickhouse.select<{ version: string }>('SELECT version() AS version', {}, signal);
    version = server?.version ?? '';
    const [parts] = await clickhouse.select<{ last: string }>(
      `SELECT toString(toUnixTimestamp(max(modification_time))) AS last FROM system.parts
        WHERE active AND database = currentDatabase() AND table = {table:String}`,
      { table },
      signal,
    );
    const last = await lastOf(clickhouse, table, ledger, signal);
    const replica = await replicaState(clickhouse, table, signal);
    const partMs = Number(parts?.last ?? 0) * 1000;
    return {
      version,
      lastPartMs: partMs === 0 ? undefined : partMs,
      committedMs: last?.committedMs,
      deliveredMs: last?.deliveredMs,
      replica: replica === 'unseen' ? undefined : replica,
    };
  } catch (error) {
    // only the table's own look tells that it is detached
    const isAbsent = error instanceof OutboxError && error.code === 'OUTBOX_CH_NOT_MIGRATED';
    if (!signal.aborted) throw isAbsent ? await absentTable(clickhouse, table, signal) : error;
    throw version === undefined
      ? new OutboxError('OUTBOX_CH_UNREACHABLE', {
          detail: `no answer from ClickHouse within ${CLICKHOUSE_DEADLINE_MS} ms`,
        })
      : new OutboxError('OUTBOX_FLOW_SLOW', {
          detail: `ClickHouse ${version} answers, but no question about the table within ${CLICKHOUSE_DEADLINE_MS} ms`,
        });
  }
}

const NO_EVENT = { source: '', lsn: Number.MAX_SAFE_INTEGER };

async function lastOf(
  clickhouse: ClickHouse,
  table: string,
  ledger: LedgerOverview | undefined,
  signal: AbortSignal,
): ReturnType<typeof lastEvent> {
  // without a ledger the table is asked all the same: it may not be there
  const { source, lsn } = ledger === undefined ? NO_EVENT : { source: ledger.source, lsn: ledger.delivered.lsn };
  return (
    (await lastEvent(clickhouse, table, source, lsn, signal)) ??
    lastEvent(clickhouse, table, source, Math.max(0, lsn - NEARBY_BYTES), signal)
  );
}

async function lastEvent(
  clickhouse: ClickHouse,
  table: string,
  source: string,
  lsn: Lsn,
  signal: AbortSignal,
): Promise<{ committedMs: number; deliveredMs: number } | undefined> {
  const [row] = await clickhouse.select<{ n: string; committed: string; delivered: string }>(
    `SELECT toString(count()) AS n, toString(toUnixTimestamp64Milli(max(committed_at))) AS committed,
            toString(toUnixTimestamp64Milli(max(delivered_at))) AS delivered
       FROM {table:Identifier} WHERE source = {source:String} AND lsn >= {lsn:UInt64}`,
    { table, source, lsn: String(lsn) },
    signal,
  );
  if (row === undefined || row.n === '0') return undefined;
  return { committedMs: Number(row.committed), deliveredMs: Number(row.delivered) };
}

/** Events of a range of WAL that ClickHouse has: (from, to]. */
export async function deliveredBetween(
  clickhouse: ClickHouse,
  table: string,
  source: string,
  [from, to]: readonly [Lsn, Lsn],
): Promise<number> {
  const [row] = await clickhouse.select<{ n: string }>(
    `SELECT toString(count()) AS n FROM {table:Identifier}
      WHERE source = {source:String} AND lsn > {from:UInt64} AND lsn <= {to:UInt64}`,
    { table, source, from: String(from), to: String(to) },
    AbortSignal.timeout(CLICKHOUSE_DEADLINE_MS),
  );
  return Number(row?.n ?? 0);
}
