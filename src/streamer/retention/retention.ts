import { OutboxError } from '../../errors.ts';
import { holderOfLock, tryLock, type LockHolder } from '../source/advisory-lock.ts';
import type { ClickHouseAccess } from '../clickhouse/access.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import type { Config } from '../config.ts';
import { partOf } from '../ledger/shares.ts';
import type { DatabaseAccess } from '../source/access.ts';
import { Database } from '../source/database.ts';
import { nameLock } from '../source/table-locks.ts';
import { cutoffOf, type Leaf } from './leaves.ts';
import { Removal, type Removed, type RetentionReport } from './removal.ts';
import { lackOf } from './sample.ts';
import { unwitnessed } from './witnessed.ts';

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
/** Another retention that takes longer hangs. */
export const LASTING_MS = 3_600_000;
const CLICKHOUSE_TIMEOUT_MS = 30_000;
/** An idle stream says that it has delivered everything a few seconds later, a busy one after the next batch. */
const DELIVERY_MARGIN_MS = 15_000;

type RetentionConfig = Pick<Config, 'slot' | 'retentionDays' | 'flushIntervalMs' | 'clickhouseTable' | 'manifests'> &
  DatabaseAccess &
  ClickHouseAccess;

/** A lock that any role can take: who has it is another retention, or keeps this one from running. */
async function busy(db: Database, lastingMs: number): Promise<OutboxError> {
  const holder = await retentionLock(db);
  if (holder === undefined || (holder.isOurs && holder.seconds * 1000 < lastingMs))
    return new OutboxError('OUTBOX_RETENTION_BUSY');
  return new OutboxError('OUTBOX_PG_LOCKED', {
    detail: `the lock of retention is held by ${holder.what}`,
    problems: [holder.end],
  });
}

/** Who has the lock of retention now. Throws OUTBOX_PG_*. */
export async function retentionLock(db: Database): Promise<LockHolder | undefined> {
  return holderOfLock(db, ADVISORY_LOCK);
}

export interface RetentionOptions {
  readonly signal: AbortSignal;
  readonly isDry?: boolean;
  /** How long streams may take to deliver what was just written, in ms. */
  readonly waitMs?: number;
  /** From when on another retention of ours is told as one that does not end, in ms. */
  readonly lastingMs?: number;
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

  /** On connections of its own. Throws OUTBOX_RETENTION_BUSY, OUTBOX_PG_LOCKED and other OUTBOX_PG_*. */
  async run(options: RetentionOptions): Promise<RetentionReport> {
    const { slot, retentionDays, flushIntervalMs, clickhouseTable: table } = this.#config;
    const connection = { parameters: PARAMETERS, queryTimeoutMs: QUERY_TIMEOUT_MS };
    const db = await Database.connect(this.#config, connection, () => undefined);
    const clickhouse = new ClickHouse(this.#config, CLICKHOUSE_TIMEOUT_MS);
    let ask: Database | undefined;
    try {
      await db.query(NAMED);
      if (!(await tryLock(db, ADVISORY_LOCK))) throw await busy(db, options.lastingMs ?? LASTING_MS);
      const { isDry = false, waitMs = flushIntervalMs + DELIVERY_MARGIN_MS, onRemoved = () => undefined } = options;
      ask = await Database.connect(this.#config, {}, () => undefined);
      await ask.query(NAMED);
      const cutoffMs = await cutoffOf(db, retentionDays);
      const part = await partOf(db, slot);
      const lack = async (leaf: Leaf): Promise<string | undefined> =>
        (await lackOf(leaf, { db, clickhouse, table, part })) ??
        (this.#config.manifests === 'on' ? unwitnessed(db, leaf) : undefined);
      return await new Removal(db, ask, { cutoffMs, signal: options.signal, isDry, waitMs, lack, onRemoved }).run();
    } catch (error) {
      throw await nameLock(db, error);
    } finally {
      await Promise.all([db.close(), ask?.close(), clickhouse.close()]);
    }
  }
}
