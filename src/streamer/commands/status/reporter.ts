import { OutboxError } from '../../../errors.ts';
import type { Lsn } from '../../../lsn.ts';
import type { ClickHouse } from '../../clickhouse/client.ts';
import { awaken, mayIdle } from '../../clickhouse/idling.ts';
import type { Config } from '../../config.ts';
import { ledgerAhead } from '../../delivery/ledger-ahead.ts';
import { isAside } from '../../ledger/quarantine.ts';
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
  CLICKHOUSE_DEADLINE_MS,
  statusClient,
} from './databases.ts';
import { reportOf, type FlowReport } from './report.ts';

const POSTGRES_DEADLINE_MS = 3000;
/** A statement that waits for a lock must not keep the next one waiting. */
const PARAMETERS = { lock_timeout: '500ms', statement_timeout: '2500ms' } as const;
const QUERY_CANCELED = '57014';
const NO_SHARES: Shares = { states: [], missing: [] };

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
    const isKnown = async (from: Lsn): Promise<boolean> => isAside(db, ledger.slot, from);
    return ledgerAhead(this.#clickhouse, this.#config.clickhouseTable, ledger, isKnown, CLICKHOUSE_DEADLINE_MS);
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

function awayReasons(clickhouse: ClickHouse): Reason[] {
  return [...clickhouse.away].map(([host, { code, message }]) => ({ code, detail: `${host} is away: ${message}` }));
}
