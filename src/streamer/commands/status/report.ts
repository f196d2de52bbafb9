import { OutboxError } from '../../../errors.ts';
import type { Lsn } from '../../../lsn.ts';
import { formatPosition } from '../../../position.ts';
import type { ClickHouse } from '../../clickhouse/client.ts';
import { awaken, mayIdle } from '../../clickhouse/idling.ts';
import type { ReplicaState } from '../../clickhouse/replicas.ts';
import type { Config } from '../../config.ts';
import { ledgerAhead } from '../../delivery/ledger-ahead.ts';
import { isQuarantined } from '../../ledger/quarantine.ts';
import type { SlotHealth } from '../../observe/readiness.ts';
import { reasonOf, type Reason } from '../../observe/reason.ts';
import { Database } from '../../source/database.ts';
import { SlotWatch } from '../../source/slot-watch.ts';
import { nameLock } from '../../source/table-locks.ts';
import {
  askClickHouse,
  askShares,
  askPostgres,
  deliveredBetween,
  type ClickHouseState,
  type PostgresState,
  type Shares,
  type ShareState,
  CLICKHOUSE_DEADLINE_MS,
  statusClient,
} from './databases.ts';
import { cautions, changing, halted, obstacles, oldestMsOf, replicaCautions, verdict } from './reasons.ts';

const POSTGRES_DEADLINE_MS = 3000;
/** A statement that waits for a lock must not keep the next one waiting. */
const PARAMETERS = { lock_timeout: '500ms', statement_timeout: '2500ms' } as const;
const QUERY_CANCELED = '57014';
const NO_SHARES: Shares = { states: [], missing: [] };

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

/** Reports on the flow of events from outside: by whichever of the two databases answers. */
export class FlowReporter {
  readonly #config: Config;
  #clickhouse: ClickHouse;
  readonly #slotWatch = new SlotWatch();
  #db: Database | undefined;
  readonly #onWaking: () => void;
  #before: { readonly atMs: number; readonly lsn: number } | undefined;

  /** @param onWaking is told that ClickHouse may be idle and does not answer yet, which may last for a minute */
  constructor(config: Config, onWaking: () => void) {
    this.#config = config;
    this.#onWaking = onWaking;
    this.#clickhouse = statusClient(config);
  }

  /** Never throws for what the databases say. */
  async report(): Promise<FlowReport> {
    const faults: Reason[] = [];
    const postgres = await this.#askPostgres(faults);
    const clickhouse = await this.#askClickHouse(faults, postgres);
    const ahead = postgres && clickhouse && (await this.#askDelivered(postgres));
    const eventsPerSecond = postgres === undefined || clickhouse === undefined ? null : await this.#rate(postgres);
    const away = clickhouse === undefined ? [] : awayReasons(this.#clickhouse);
    const shares = await this.#askShares();
    return reportOf(this.#config, { faults, postgres, clickhouse, ahead, away, eventsPerSecond, shares });
  }

  async close(): Promise<void> {
    await Promise.all([this.#clickhouse.close(), this.#db?.close()]);
  }

  async #askPostgres(faults: Reason[]): Promise<PostgresState | undefined> {
    try {
      return await within(
        POSTGRES_DEADLINE_MS,
        async () => askPostgres(await this.#connected(), this.#config, this.#slotWatch),
        () => this.#db !== undefined,
      );
    } catch (caught) {
      const error = this.#db === undefined ? caught : await nameLock(this.#db, caught).catch(() => caught);
      if (!(error instanceof OutboxError)) throw error;
      faults.push(reasonOf(error.sqlState === QUERY_CANCELED ? slow() : error));
      // a question that has no answer yet would keep the next one waiting
      if (error.code === 'OUTBOX_PG_UNREACHABLE' || error.code === 'OUTBOX_FLOW_SLOW') {
        void this.#db?.close();
        this.#db = undefined;
      }
      return undefined;
    }
  }

  async #askShares(): Promise<Shares> {
    try {
      const db = this.#db;
      return db === undefined ? NO_SHARES : await within(POSTGRES_DEADLINE_MS, async () => askShares(db, this.#config));
    } catch (error) {
      if (!(error instanceof OutboxError)) throw error;
      return NO_SHARES;
    }
  }

  async #connected(): Promise<Database> {
    if (this.#db !== undefined) return this.#db;
    const db = await Database.connect(this.#config, { parameters: PARAMETERS }, () => {
      this.#db = undefined;
    });
    await db.query("SELECT set_config('application_name', 'pg-outbox-clickhouse status', false)");
    this.#db = db;
    return db;
  }

  async #askClickHouse(
    faults: Reason[],
    postgres: PostgresState | undefined,
  ): Promise<(ClickHouseState & { readonly wokeInMs: number | undefined }) | undefined> {
    // a host that was away may be back
    if (this.#clickhouse.away.size > 0) {
      void this.#clickhouse.close();
      this.#clickhouse = statusClient(this.#config);
    }
    try {
      const wokeInMs = mayIdle(this.#config) ? await awaken(this.#clickhouse, this.#onWaking) : undefined;
      const state = await askClickHouse(this.#clickhouse, this.#config.clickhouseTable, postgres?.ledger);
      return { ...state, wokeInMs };
    } catch (error) {
      faults.push(reasonOf(error));
      return undefined;
    }
  }

  async #askDelivered({ ledger }: PostgresState): Promise<OutboxError | undefined> {
    const db = this.#db;
    if (db === undefined || ledger.isDetached || !ledger.isOfThisSystem) return undefined;
    const isAside = async (from: Lsn): Promise<boolean> => isQuarantined(db, ledger.slot, from);
    return ledgerAhead(this.#clickhouse, this.#config.clickhouseTable, ledger, isAside, CLICKHOUSE_DEADLINE_MS);
  }

  async #rate({ ledger: { source, delivered } }: PostgresState): Promise<number | null> {
    const before = this.#before;
    const atMs = performance.now();
    this.#before = { atMs, lsn: delivered.lsn };
    if (before === undefined) return null;
    try {
      const range = [before.lsn, delivered.lsn] as const;
      const events = await deliveredBetween(this.#clickhouse, this.#config.clickhouseTable, source, range);
      return Math.round(events / ((atMs - before.atMs) / 1000));
    } catch {
      return null;
    }
  }
}

async function within<T>(ms: number, work: () => Promise<T>, isConnected = (): boolean => true): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        isConnected()
          ? slow()
          : new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: `no answer from Postgres within ${ms} ms` }),
      );
    }, ms);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function slow(): OutboxError {
  return new OutboxError('OUTBOX_FLOW_SLOW', {
    detail: `Postgres lets in, and does not answer within ${POSTGRES_DEADLINE_MS} ms`,
  });
}

interface Answers {
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

function reportOf(
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

function awayReasons(clickhouse: ClickHouse): Reason[] {
  return [...clickhouse.away].map(([host, { code, message }]) => ({ code, detail: `${host} is away: ${message}` }));
}

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
