import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { Database } from '../source/database.ts';
import { IS_OF_ITS_DAY, referencesToEvents } from '../source/event-table.ts';
import { writtenTo } from '../source/wal-end.ts';
import { listLeaves, type Leaf } from './leaves.ts';
import { proveDelivered } from './proof.ts';

/** SQLSTATEs of a lock that is not free: lock_not_available, deadlock_detected. */
const LOCKED: ReadonlySet<string | undefined> = new Set(['55P03', '40P01']);
/** SQLSTATE of TRUNCATE on a table that a foreign key refers to: feature_not_supported. */
const REFERENCED = '0A000';
/** How often it is asked whether somebody waits for what is held. */
const WATCH_MS = 20;
const READ_BLOCKS = 4096;
const CAME_ROUND = 'the ring came round to it before it was emptied: it is emptied when its newest rows expire';

/** A partition that was emptied, or would be. */
export interface Removed {
  readonly table: string;
  readonly rows: number;
  /** What it gave back to the disk. */
  readonly bytes: number;
  readonly ms: number;
}

/** Expired rows that stay for now. Those of younger partitions stay with them, so that the outbox always ends at one time. */
export interface Kept {
  readonly table: string;
  readonly reason: string;
  /** It goes by itself: somebody held a lock, or the day of its rows is not over. */
  readonly passes: boolean;
}

export interface RetentionReport {
  /** Rows recorded before it are expired, ms since 1970. */
  readonly cutoffMs: number;
  readonly removed: readonly Removed[];
  readonly kept: Kept | undefined;
  /** What outbox.event has now: rows as Postgres estimates, bytes with indexes. */
  readonly rows: number;
  readonly bytes: number;
  readonly oldestMs: number | undefined;
}

export interface RemovalOptions {
  readonly cutoffMs: number;
  readonly signal: AbortSignal;
  readonly isDry: boolean;
  readonly waitMs: number;
  /** What speaks against removing a partition that is delivered. Throws OutboxErrors. */
  readonly lack: (leaf: Leaf) => Promise<string | undefined>;
  readonly onRemoved: (removed: Removed) => void;
}

/** One retention, on a connection with a short lock_timeout that serves nothing else meanwhile, and one for questions. */
export class Removal {
  readonly #db: Database;
  readonly #ask: Database;
  readonly #options: RemovalOptions;
  readonly #removed: Removed[] = [];
  #kept: Kept | undefined;

  constructor(db: Database, ask: Database, options: RemovalOptions) {
    this.#db = db;
    this.#ask = ask;
    this.#options = options;
  }

  async run(): Promise<RetentionReport> {
    const { cutoffMs, isDry } = this.#options;
    const before = await listLeaves(this.#db, cutoffMs);
    await this.#removeExpired(before);
    const leaves = this.#removed.length > 0 && !isDry ? await listLeaves(this.#db, cutoffMs) : before;
    return {
      cutoffMs,
      removed: this.#removed,
      kept: this.#kept,
      rows: leaves.reduce((sum, { rows }) => sum + rows, 0),
      bytes: leaves.reduce((sum, { bytes }) => sum + bytes, 0),
      oldestMs: leaves[0]?.oldestMs,
    };
  }

  /** The oldest first: what `verify` finds in ClickHouse alone is expired when it is older than all that the outbox has. */
  async #removeExpired(leaves: readonly Leaf[]): Promise<void> {
    const due: Leaf[] = [];
    for (const leaf of leaves.filter(({ isExpired }) => isExpired)) {
      const { hasFresh } = await this.#count(leaf, leaf.blocks - READ_BLOCKS);
      if (!hasFresh) due.push(leaf);
      // where the day of its rows is not over yet, it will be
      else if (leaf.isLate) {
        this.#kept = { table: leaf.name, reason: CAME_ROUND, passes: false };
        break;
      }
    }
    const [first] = due;
    if (first === undefined) return;
    const problems = due
      .filter(({ isPermitted }) => !isPermitted)
      .map(({ name }) => `GRANT SELECT, TRUNCATE ON ${name} TO …, as roles.sql does for all partitions`);
    if (problems.length > 0)
      throw new OutboxError('OUTBOX_PG_PRIVILEGE', { detail: 'the role may not remove expired events', problems });
    if (!(await this.#isDelivered(first))) return;
    for (const leaf of due) if (!(await this.#empty(leaf))) return;
  }

  /** Proves that what is committed by now is delivered, with no lock held. */
  async #isDelivered({ name }: Leaf): Promise<boolean> {
    const { waitMs, signal } = this.#options;
    const obstacle = await proveDelivered(this.#ask, await writtenTo(this.#db), waitMs, () => !signal.aborted);
    if (obstacle === undefined) return true;
    this.#kept = { table: name, reason: obstacle.reason, passes: false };
    return false;
  }

  /** The ledger says what was delivered, and not whether it is still there. */
  async #isFound(leaf: Leaf): Promise<boolean> {
    const reason = await this.#options.lack(leaf).catch((error: unknown) => {
      if (!(error instanceof OutboxError) || !error.code.startsWith('OUTBOX_CH_')) throw error;
      return `ClickHouse cannot be asked for it: ${error.message}`;
    });
    if (reason !== undefined) this.#kept = { table: leaf.name, reason, passes: false };
    return reason === undefined;
  }

  /** Whether it is empty now, or would be. */
  async #empty(leaf: Leaf): Promise<boolean> {
    const { isDry, onRemoved } = this.#options;
    const began = performance.now();
    const { rows, hasFresh } = await this.#count(leaf, 0);
    if (hasFresh) {
      // younger ones stay with it
      if (leaf.isLate) this.#kept = { table: leaf.name, reason: CAME_ROUND, passes: false };
      return !leaf.isLate;
    }
    if (!(await this.#isFound(leaf))) return false;
    if (!isDry && !(await this.#truncate(leaf))) return false;
    const removed = { table: leaf.name, rows, bytes: leaf.bytes, ms: Math.round(performance.now() - began) };
    this.#removed.push(removed);
    if (!isDry) onRemoved(removed);
    return true;
  }

  /** Counts rows from a block on, of which none is believed that says it is from the future; from the end, where the youngest stand, down to the first that is not expired. */
  async #count({ quoted, blocks }: Leaf, fromBlock: number): Promise<{ rows: number; hasFresh: boolean }> {
    let rows = 0;
    for (let end = blocks; end > Math.max(0, fromBlock); end -= READ_BLOCKS) {
      // what was added since belongs to the last ones
      const until = end === blocks ? '(4294967295,0)' : `(${end},0)`;
      const counted = await this.#paced(async () =>
        this.#db.query<{ rows: string; fresh: string }>(
          `SELECT count(*) AS rows, count(*) FILTER (WHERE recorded_at >= to_timestamp($3::float8 / 1000)
                                                      AND (recorded_at < now() OR ${IS_OF_ITS_DAY})) AS fresh
             FROM ONLY ${quoted} WHERE ctid >= $1::tid AND ctid < $2::tid`,
          [`(${Math.max(0, end - READ_BLOCKS)},0)`, until, this.#options.cutoffMs],
        ),
      );
      rows += Number(counted.rows[0]!.rows);
      if (counted.rows[0]!.fresh !== '0') return { rows, hasFresh: true };
    }
    return { rows, hasFresh: false };
  }

  /**
   * A SHARE lock is in the way of writers of this one partition alone, which would be transactions that began before its rows
   * expired. With it, all that was ever put there is committed or gone, so that what WAL holds by then is all that must be
   * delivered. If anyone else asks for the lock, retention gives it up at once.
   */
  async #truncate({ name, quoted, oid, isLate }: Leaf): Promise<boolean> {
    const { waitMs, signal } = this.#options;
    let isWanted = false;
    const proof = { isOver: false };
    await this.#db.query('BEGIN');
    try {
      await this.#db.query(`LOCK TABLE ONLY ${quoted} IN SHARE MODE`);
      const lsn = await writtenTo(this.#db);
      const proving = proveDelivered(this.#ask, lsn, waitMs, () => !isWanted && !signal.aborted);
      const proved = proving.catch(() => undefined).finally(() => (proof.isOver = true));
      while (!isWanted && !proof.isOver) {
        isWanted = (await this.#db.query('SELECT FROM pg_locks WHERE relation = $1 AND NOT granted', [oid])).count > 0;
        if (!isWanted) await Promise.race([proved, sleep(WATCH_MS)]);
      }
      const obstacle = isWanted ? { reason: 'somebody else needs it', passes: !isLate } : await proving;
      if (obstacle === undefined) {
        await this.#db.query(`TRUNCATE ONLY ${quoted}`);
        await this.#db.query('COMMIT');
        return true;
      }
      await this.#db.query('ROLLBACK');
      await proved;
      this.#kept = { table: name, reason: obstacle.reason, passes: isWanted && !isLate };
      return false;
    } catch (error) {
      // ends the proof, too
      isWanted = true;
      await this.#db.query('ROLLBACK').catch(() => undefined);
      if (error instanceof OutboxError && error.sqlState === REFERENCED) {
        const keys = (await referencesToEvents(this.#db)).map((key) => `${key.name} of ${key.of}`);
        const reason = `a foreign key refers to it, and TRUNCATE refuses: ${keys.join(', ')}`;
        this.#kept = { table: name, reason, passes: false };
        return false;
      }
      if (!(error instanceof OutboxError) || !LOCKED.has(error.sqlState)) throw error;
      this.#kept = { table: name, reason: 'somebody holds a lock on it', passes: !isLate };
      return false;
    }
  }

  /** Rests as long as it has worked: others need the disk, too. */
  async #paced<T>(work: () => Promise<T>): Promise<T> {
    this.#options.signal.throwIfAborted();
    const began = performance.now();
    const result = await work();
    await sleep(performance.now() - began);
    return result;
  }
}
