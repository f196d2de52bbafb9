import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { writtenTo } from '../compare/outbox.ts';
import type { Database } from '../source/database.ts';
import { oldestOf, survey } from './leaves.ts';
import type { Leaf, Survey } from './leaves.ts';
import { proveDelivered } from './proof.ts';

const LOCKED: ReadonlySet<string | undefined> = new Set(['55P03', '40P01']);
/** How often it is asked whether somebody waits for what is held. */
const WATCH_MS = 20;
const READ_BLOCKS = 4096;
/** Some thousands of rows. */
const DELETE_BLOCKS = 128;

/** What a run has removed, or would. */
export interface Emptied {
  readonly table: string;
  readonly by: 'TRUNCATE' | 'DELETE';
  readonly rows: number;
  /** What TRUNCATE gave back to the disk; 0 for DELETE, after which VACUUM makes room for new rows. */
  readonly bytes: number;
  readonly ms: number;
}

/** Expired rows that stay for now. Those of younger tables stay with them, so that the outbox always ends at one time. */
export interface Left {
  readonly table: string;
  readonly reason: string;
  /** Only the moment was wrong: somebody held a lock. */
  readonly passes: boolean;
}

export interface RetentionReport {
  /** Rows recorded before it are expired, ms since 1970. */
  readonly cutoffMs: number;
  readonly emptied: readonly Emptied[];
  readonly left: Left | undefined;
  /** Buckets of the ring that hold rows of two rounds. */
  readonly comeRound: readonly string[];
  /** What outbox.event has now: rows as Postgres estimates, bytes with indexes. */
  readonly rows: number;
  readonly bytes: number;
  readonly oldestMs: number | undefined;
}

export interface RunOptions {
  readonly cutoffMs: number;
  readonly signal: AbortSignal;
  readonly isDry: boolean;
  readonly waitMs: number;
  /** Whether a table without partitions is read to its end, wherever its oldest rows stand. */
  readonly readsWhole: boolean;
  readonly onEmptied: (emptied: Emptied) => void;
}

/** One retention, on a connection with a short lock_timeout that serves nothing else meanwhile, and one for questions. */
export class Run {
  readonly #db: Database;
  readonly #ask: Database;
  readonly #options: RunOptions;
  readonly #emptied: Emptied[] = [];
  readonly #comeRound: string[] = [];
  #left: Left | undefined;
  hasReadWhole = false;

  constructor(db: Database, ask: Database, options: RunOptions) {
    this.#db = db;
    this.#ask = ask;
    this.#options = options;
  }

  async run(): Promise<RetentionReport> {
    const before = await survey(this.#db, this.#cutoffMs);
    await this.#empty(before);
    const { leaves } = this.#emptied.length > 0 && !this.#isDry ? await survey(this.#db, this.#cutoffMs) : before;
    const oldest = leaves.flatMap(({ oldestMs }) => oldestMs ?? []);
    return {
      cutoffMs: this.#cutoffMs,
      emptied: this.#emptied,
      left: this.#left,
      comeRound: this.#comeRound,
      rows: leaves.reduce((sum, { rows }) => sum + rows, 0),
      bytes: leaves.reduce((sum, { bytes }) => sum + bytes, 0),
      oldestMs: oldest.length === 0 ? undefined : Math.min(...oldest),
    };
  }

  get #isDry(): boolean {
    return this.#options.isDry;
  }

  get #cutoffMs(): number {
    return this.#options.cutoffMs;
  }

  /** The oldest first: what `verify` finds in ClickHouse alone is expired when it is older than all that the outbox has. */
  async #empty({ leaves, isRing, isPartitioned }: Survey): Promise<void> {
    const due: { leaf: Leaf; hasFresh: boolean }[] = [];
    for (const leaf of leaves.toSorted((a, b) => (a.oldestMs ?? 0) - (b.oldestMs ?? 0))) {
      // where rows fill the room of deleted ones, the first need not be the oldest
      const isBlind = !isPartitioned && this.#options.readsWhole && leaf.oldestMs !== undefined;
      if (!leaf.isExpired && !isBlind) continue;
      const hasFresh = (await this.#count(leaf, leaf.blocks - READ_BLOCKS)).hasFresh;
      if (hasFresh && isRing && leaf.isLate) this.#comeRound.push(leaf.name);
      // otherwise the day of its rows is not over yet, and will be
      if (!hasFresh || leaf.isLate || isBlind) due.push({ leaf, hasFresh });
    }
    const [first] = due;
    if (first === undefined) return;
    const problems = due
      .filter(({ leaf }) => !leaf.isPermitted)
      .map(({ leaf }) => `GRANT SELECT, TRUNCATE, DELETE ON ${leaf.name} TO …, as roles.sql does for all partitions`);
    if (problems.length > 0)
      throw new OutboxError('OUTBOX_PG_PRIVILEGE', { detail: 'the role may not remove expired events', problems });
    const xmin = await this.#delivered(first.leaf);
    if (xmin === undefined) return;
    for (const { leaf, hasFresh } of due) {
      try {
        await this.#remove(leaf, hasFresh, xmin);
      } catch (error) {
        if (!(error instanceof OutboxError) || !LOCKED.has(error.sqlState)) throw error;
        this.#left = { table: leaf.name, reason: 'somebody holds a lock on it', passes: !leaf.isLate };
      }
      if (this.#left !== undefined) return;
    }
    this.hasReadWhole = !isPartitioned;
  }

  /**
   * Proves that what is committed by now is delivered, with no lock held. Returns the id below which all transactions were
   * over by then.
   */
  async #delivered({ name }: Leaf): Promise<string | undefined> {
    const { rows } = await this.#db.query<{ xmin: string }>(
      'SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text AS xmin',
    );
    const { waitMs, signal } = this.#options;
    const obstacle = await proveDelivered(this.#ask, await writtenTo(this.#db), waitMs, () => !signal.aborted);
    if (obstacle === undefined) return rows[0]!.xmin;
    this.#left = { table: name, reason: obstacle.reason, passes: false };
    return undefined;
  }

  async #remove(leaf: Leaf, isYoungAtEnd: boolean, xmin: string): Promise<void> {
    const began = performance.now();
    const { rows, hasFresh } = isYoungAtEnd ? { rows: 0, hasFresh: true } : await this.#count(leaf, 0);
    const removed = hasFresh
      ? ({ by: 'DELETE', rows: await this.#delete(leaf, xmin), bytes: 0 } as const)
      : ({ by: 'TRUNCATE', rows: (await this.#truncate(leaf)) ? rows : 0, bytes: leaf.bytes } as const);
    if (removed.rows === 0) return;
    const emptied = { table: leaf.name, ...removed, ms: Math.round(performance.now() - began) };
    this.#emptied.push(emptied);
    if (!this.#isDry) this.#options.onEmptied(emptied);
  }

  /** Counts rows from a block on; from the end, where the youngest stand, down to the first that is not expired. */
  async #count({ name, blocks }: Leaf, fromBlock: number): Promise<{ rows: number; hasFresh: boolean }> {
    let rows = 0;
    for (let end = blocks; end > Math.max(0, fromBlock); end -= READ_BLOCKS) {
      // what was added since belongs to the last ones
      const until = end === blocks ? '(4294967295,0)' : `(${end},0)`;
      const counted = await this.#paced(async () =>
        this.#db.query<{ rows: string; fresh: string }>(
          `SELECT count(*) AS rows, count(*) FILTER (WHERE recorded_at >= to_timestamp($3::float8 / 1000)) AS fresh
             FROM ONLY ${name} WHERE ctid >= $1::tid AND ctid < $2::tid`,
          [`(${Math.max(0, end - READ_BLOCKS)},0)`, until, this.#cutoffMs],
        ),
      );
      rows += Number(counted.rows[0]!.rows);
      if (counted.rows[0]!.fresh !== '0') return { rows, hasFresh: true };
    }
    return { rows, hasFresh: false };
  }

  /**
   * A SHARE lock is in the way of writers of this one table alone, who would be transactions that began before its rows
   * expired. With it, all that was ever put there is committed or gone, so that what WAL holds by then is all that must be
   * delivered. Whoever comes for the table meanwhile gets it at once.
   */
  async #truncate({ name, oid, isLate }: Leaf): Promise<boolean> {
    if (this.#isDry) return true;
    const { waitMs, signal } = this.#options;
    let isWanted = false;
    const proof = { isOver: false };
    await this.#db.query('BEGIN');
    try {
      await this.#db.query(`LOCK TABLE ONLY ${name} IN SHARE MODE`);
      const lsn = await writtenTo(this.#db);
      const proving = proveDelivered(this.#ask, lsn, waitMs, () => !isWanted && !signal.aborted);
      const proved = proving.catch(() => undefined).finally(() => (proof.isOver = true));
      while (!isWanted && !proof.isOver) {
        isWanted = (await this.#db.query('SELECT FROM pg_locks WHERE relation = $1 AND NOT granted', [oid])).count > 0;
        if (!isWanted) await Promise.race([proved, sleep(WATCH_MS)]);
      }
      const obstacle = isWanted ? { reason: 'somebody else needs it', passes: !isLate } : await proving;
      if (obstacle === undefined) {
        await this.#db.query(`TRUNCATE ONLY ${name}`);
        await this.#db.query('COMMIT');
        return true;
      }
      await this.#db.query('ROLLBACK');
      await proved;
      this.#left = { table: name, reason: obstacle.reason, passes: isWanted && !isLate };
      return false;
    } catch (error) {
      // ends the proof, too
      isWanted = true;
      await this.#db.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }

  /** In small transactions. A row stays that may be of a transaction which was not over when delivery was proved. */
  async #delete({ name, blocks }: Leaf, xmin: string): Promise<number> {
    const rows = `FROM ONLY ${name} WHERE ctid >= $1::tid AND ctid < $2::tid
                     AND recorded_at < to_timestamp($3::float8 / 1000) AND age(xmin) > age($4::xid)`;
    let count = 0;
    for (let block = 0; block < blocks; block += DELETE_BLOCKS) {
      const values = [`(${block},0)`, `(${block + DELETE_BLOCKS},0)`, this.#cutoffMs, xmin];
      const query = this.#isDry ? `SELECT ${rows}` : `DELETE ${rows}`;
      count += (await this.#paced(async () => this.#db.query(query, values))).count;
    }
    if (!this.#isDry && ((await oldestOf(this.#db, name)) ?? Infinity) < this.#cutoffMs)
      this.#left = { table: name, reason: 'a transaction is open that began before they were written', passes: true };
    return count;
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
