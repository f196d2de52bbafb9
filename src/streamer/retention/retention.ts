import { OutboxError } from '../../errors.ts';
import { holderOfLock, tryLock } from '../source/advisory-lock.ts';
import type { ClickHouseAccess } from '../clickhouse/access.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import type { Config } from '../config.ts';
import { partOf } from '../ledger/shares.ts';
import type { DatabaseAccess } from '../source/access.ts';
import { Database } from '../source/database.ts';
import { cutoffOf, type Leaf } from './leaves.ts';
import { Removal, type Removed, type RetentionReport } from './removal.ts';
import { lackOf } from './sample.ts';

/** One retention at a time of an outbox: two would only be in each other's way. */
const ADVISORY_LOCK = 0x6f7574626f79;
/**
 * Locks that are not free are asked for again by the next run: whoever waits for one has others wait behind it. And a process that
 * freezes with a lock must not hold it long.
 */
const PARAMETERS = {
  lock_timeout: '50ms',
  idle_in_transaction_session_timeout: '5s',
  statement_timeout: '60s',
} as const;
/** Not to be taken for a streamer that stands by. */
const NAME = 'pg-outbox-clickhouse retention';
const NAMED = `SELECT set_config('application_name', '${NAME}', false)`;
const QUERY_TIMEOUT_MS = 65_000;
const CLICKHOUSE_TIMEOUT_MS = 30_000;
/** An idle stream says that it has delivered everything a few seconds later, a busy one after the next batch. */
const DELIVERY_MARGIN_MS = 15_000;

type RetentionConfig = Pick<Config, 'slot' | 'retentionDays' | 'flushIntervalMs' | 'clickhouseTable'> &
  DatabaseAccess &
  ClickHouseAccess;

/** A lock that any role can take: who has it is another retention, or somebody who keeps it from running. */
async function busy(db: Database): Promise<OutboxError> {
  const holder = await holderOfLock(db, ADVISORY_LOCK);
  if (holder === undefined || holder.includes(`application "${NAME}"`)) return new OutboxError('OUTBOX_RETENTION_BUSY');
  return new OutboxError('OUTBOX_PG_LOCKED', { detail: `the lock of retention is held by ${holder}` });
}

export interface RetentionOptions {
  readonly signal: AbortSignal;
  readonly isDry?: boolean;
  /** How long streams may take to deliver what was just written, in ms. */
  readonly waitMs?: number;
  readonly onRemoved?: (removed: Removed) => void;
}

/**
 * Removes delivered rows of outbox.event that are older than the retention, so that no producer ever waits (invariant 11): a
 * partition whose rows are all expired is emptied by TRUNCATE. That is not in the stream: the publication has inserts only, and
 * what was committed stays in WAL until it is acknowledged.
 */
export class Retention {
  readonly #config: RetentionConfig;

  constructor(config: RetentionConfig) {
    this.#config = config;
  }

  /** On connections of its own. Throws OUTBOX_RETENTION_BUSY and OUTBOX_PG_*. */
  async run(options: RetentionOptions): Promise<RetentionReport> {
    const { slot, retentionDays, flushIntervalMs, clickhouseTable: table } = this.#config;
    const connection = { parameters: PARAMETERS, queryTimeoutMs: QUERY_TIMEOUT_MS };
    const db = await Database.connect(this.#config, connection, () => undefined);
    const clickhouse = new ClickHouse(this.#config, CLICKHOUSE_TIMEOUT_MS);
    let ask: Database | undefined;
    try {
      await db.query(NAMED);
      if (!(await tryLock(db, ADVISORY_LOCK))) throw await busy(db);
      const { isDry = false, waitMs = flushIntervalMs + DELIVERY_MARGIN_MS, onRemoved = () => undefined } = options;
      ask = await Database.connect(this.#config, {}, () => undefined);
      await ask.query(NAMED);
      const cutoffMs = await cutoffOf(db, retentionDays);
      const part = await partOf(db, slot);
      const lack = async (leaf: Leaf): Promise<string | undefined> => lackOf(leaf, { db, clickhouse, table, part });
      return await new Removal(db, ask, { cutoffMs, signal: options.signal, isDry, waitMs, lack, onRemoved }).run();
    } finally {
      await Promise.all([db.close(), ask?.close(), clickhouse.close()]);
    }
  }
}
