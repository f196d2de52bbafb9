import type { OutboxError } from '../../../errors.ts';
import { formatPosition } from '../../../position.ts';
import type { ReplicaState } from '../../clickhouse/replicas.ts';
import type { Config } from '../../config.ts';
import type { SlotHealth } from '../../observe/readiness.ts';
import { reasonOf, type Reason } from '../../observe/reason.ts';
import type { ClickHouseState, PostgresState, Shares, ShareState } from './databases.ts';
import { cautions, changing, halted, obstacles, oldestMsOf, replicaCautions, verdict } from './reasons.ts';

/** What `status` prints. Times are ISO 8601; what is not known, or is not there, is null. */
export interface FlowReport {
  readonly at: string;
  /** Null where it is not known: Postgres did not tell. */
  readonly flowing: boolean | null;
  /** Why events do not flow, or why that is not known. */
  readonly reasons: readonly Reason[];
  /** What an operator should know although they flow. */
  readonly warnings: readonly Reason[];
  readonly slotName: string;
  readonly table: string;
  /** Process ids in Postgres of the streamer that holds the slot, and how many others stand by. */
  readonly streamer: { readonly walsender: number; readonly backend: number | null; readonly standbys: number } | null;
  readonly delivered: {
    readonly position: string;
    readonly committedAt: string | null;
    readonly deliveredAt: string | null;
  } | null;
  /** As in `/readyz`; seconds are null where nobody knows the age of what waits. */
  readonly lag: { readonly bytes: number; readonly seconds: number | null; readonly oldestAt: string | null } | null;
  /** Since the report before; null in the first. */
  readonly eventsPerSecond: number | null;
  readonly pending: { readonly rows: number; readonly since: string } | null;
  /** What ClickHouse refused last, as the ledger has it, and since when it refuses. */
  readonly refusal: { readonly said: string; readonly since: string } | null;
  readonly slot: SlotHealth | null;
  /** The one that has written and is open for longest, as far as the role may see: the slot keeps WAL since it began. */
  readonly oldestTransaction: { readonly what: string; readonly seconds: number } | null;
  readonly quarantined: number | null;
  readonly readingBack: boolean;
  readonly repairing: boolean;
  /** `wokeInSeconds`: it was idle, and answered only then. */
  readonly clickhouse: {
    readonly version: string;
    readonly lastPartAt: string | null;
    readonly wokeInSeconds: number | null;
    /** Null where the table is not replicated, or they may not be seen. */
    readonly replica: ReplicaState | null;
  } | null;
  /** Every slot of an outbox that is delivered in shares; null where it is not, or where nobody knows. */
  readonly shares: readonly ShareState[] | null;
}

/** What was found out for a report. */
export interface Answers {
  readonly faults: readonly Reason[];
  readonly postgres: PostgresState | undefined;
  readonly clickhouse: (ClickHouseState & { readonly wokeInMs: number | undefined }) | undefined;
  /** See ledgerAhead. */
  readonly ahead: OutboxError | undefined;
  /** Hosts that were asked in vain before another one answered. */
  readonly away: readonly Reason[];
  readonly eventsPerSecond: number | null;
  readonly shares: Shares;
}

/** The report on what was found out, by now. */
export function reportOf(
  config: Config,
  { faults, postgres, clickhouse, ahead, away, eventsPerSecond, shares }: Answers,
): FlowReport {
  const nowMs = Date.now();
  const found = postgres === undefined ? [] : obstacles(config, postgres, clickhouse, nowMs);
  found.push(...halted(shares));
  // what is seen from here is newer than what the ledger has of it
  const reasons = [...faults, ...found.filter(({ code }) => !faults.some((fault) => fault.code === code))];
  const { holder, ledger, slot, oldestTransaction } = postgres ?? {};
  return {
    at: iso(nowMs)!,
    flowing: verdict(reasons, postgres),
    reasons,
    warnings: [
      ...(postgres === undefined ? [] : cautions(postgres)),
      ...(ahead === undefined ? [] : [reasonOf(ahead)]),
      ...changing(shares.states),
      ...away,
      ...replicaCautions(clickhouse?.replica, reasons),
    ],
    slotName: config.slot,
    table: config.clickhouseTable,
    streamer:
      holder?.walsender === undefined
        ? null
        : { walsender: holder.walsender, backend: holder.backend ?? null, standbys: holder.standbys },
    delivered:
      ledger === undefined
        ? null
        : {
            position: formatPosition(ledger.delivered),
            committedAt: iso(clickhouse?.committedMs),
            deliveredAt: iso(clickhouse?.deliveredMs),
          },
    lag: postgres === undefined ? null : lagFrom(postgres, nowMs),
    eventsPerSecond,
    pending: ledger?.pending === undefined ? null : { rows: ledger.pending.rows, since: iso(ledger.pending.sinceMs)! },
    refusal: ledger?.refusal === undefined ? null : { said: ledger.refusal.said, since: iso(ledger.refusal.sinceMs)! },
    slot: slot ?? null,
    oldestTransaction:
      oldestTransaction === undefined
        ? null
        : { what: oldestTransaction.what, seconds: Math.round(oldestTransaction.seconds) },
    quarantined: postgres?.quarantined ?? null,
    readingBack: ledger?.isReadingBack ?? false,
    repairing: ledger?.isRepairing ?? false,
    clickhouse:
      clickhouse === undefined
        ? null
        : {
            version: clickhouse.version,
            lastPartAt: iso(clickhouse.lastPartMs),
            wokeInSeconds: clickhouse.wokeInMs === undefined ? null : Math.round(clickhouse.wokeInMs / 1000),
            replica: clickhouse.replica ?? null,
          },
    shares: shares.states.length === 0 ? null : shares.states,
  };
}

function lagFrom(postgres: PostgresState, nowMs: number): FlowReport['lag'] {
  const { holder, ledger } = postgres;
  const bytes = Math.max(0, ledger.walEnd - holder.reached);
  const oldestMs = oldestMsOf(postgres);
  const isUnknown = oldestMs === undefined && holder.backend === undefined && bytes > 0;
  const seconds = oldestMs === undefined ? 0 : Math.max(0, Math.round((nowMs - oldestMs) / 100) / 10);
  return { bytes, seconds: isUnknown ? null : seconds, oldestAt: iso(oldestMs) };
}

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
