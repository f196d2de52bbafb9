import { OutboxError } from '../../errors.ts';

/** Unequal rows of one id that are held in memory, some 25 MB. Ids need not be unique, but only a mistake gives one to so many events. */
const MAX_HELD = 50_000;

/** A row by which two sides are compared. Both sides are ordered by (id, digest), as bytes. */
export interface Keyed {
  readonly id: string;
  readonly digest: string;
}

/** So many equal rows, by the last of them. */
export interface Copies<Row> {
  readonly row: Row;
  readonly count: number;
}

/** An id of which the two sides do not have the same rows: what is left when equal ones have cancelled out. */
export interface Unequal<Left, Right> {
  readonly id: string;
  /** Rows of the id on each side, equal ones included. */
  readonly leftRows: number;
  readonly rightRows: number;
  /** More often, or only, on the left. */
  readonly left: readonly Copies<Left>[];
  /** More often on the right than on the left, where they are too. */
  readonly copies: readonly Copies<Right>[];
  /** On the right alone. */
  readonly right: readonly Copies<Right>[];
}

/**
 * Walks along two ordered streams of rows and tells the ids whose multisets of rows differ. Holds one chunk of each stream,
 * and what is left of one id. To stop iterating ends both streams. Throws OUTBOX_VERIFY_SAME_ID when too much is left of one id, and
 * RangeError when a stream is out of order.
 */
export async function* unequal<Left extends Keyed, Right extends Keyed>(
  leftRows: AsyncIterable<readonly Left[]>,
  rightRows: AsyncIterable<readonly Right[]>,
): AsyncGenerator<Unequal<Left, Right>, void, undefined> {
  const left = new Runs(leftRows);
  const right = new Runs(rightRows);
  let failed = false;
  try {
    // both servers begin to work at once
    await Promise.all([left.load(), right.load()]);
    let open: Leftovers<Left, Right> | undefined;
    for (;;) {
      if (!left.next()) await left.fill();
      if (!right.next()) await right.fill();
      const [a, b] = [left.head, right.head];
      if (a === undefined && b === undefined) break;
      const order = a === undefined ? 1 : b === undefined ? -1 : compareKeys(a.row, b.row);
      const { id } = (order <= 0 ? a : b)!.row;
      if (open?.id !== id) {
        if (open?.differs === true) yield open;
        open = new Leftovers(id);
      }
      open.add(order <= 0 ? a : undefined, order >= 0 ? b : undefined);
      if (order <= 0) left.take();
      if (order >= 0) right.take();
    }
    if (open?.differs === true) yield open;
  } catch (error) {
    failed = true;
    throw error;
  } finally {
    const closed = Promise.allSettled([left.close(), right.close()]);
    // the other side may still work on its answer, for minutes
    if (!failed) await closed;
  }
}

class Leftovers<Left, Right> implements Unequal<Left, Right> {
  readonly id: string;
  leftRows = 0;
  rightRows = 0;
  readonly left: Copies<Left>[] = [];
  readonly copies: Copies<Right>[] = [];
  readonly right: Copies<Right>[] = [];

  constructor(id: string) {
    this.id = id;
  }

  get differs(): boolean {
    return this.#held > 0;
  }

  get #held(): number {
    return this.left.length + this.copies.length + this.right.length;
  }

  add(a: Copies<Left> | undefined, b: Copies<Right> | undefined): void {
    const surplus = (a?.count ?? 0) - (b?.count ?? 0);
    this.leftRows += a?.count ?? 0;
    this.rightRows += b?.count ?? 0;
    if (surplus > 0) this.left.push({ row: a!.row, count: surplus });
    else if (surplus < 0) (a === undefined ? this.right : this.copies).push({ row: b!.row, count: -surplus });
    if (this.#held > MAX_HELD)
      throw new OutboxError('OUTBOX_VERIFY_SAME_ID', {
        detail: `more than ${MAX_HELD} events that differ have the id ${this.id}`,
      });
  }
}

/** A stream of rows as runs of equal ones, without a promise for each of them. */
class Runs<Row extends Keyed> {
  readonly #chunks: AsyncIterator<readonly Row[]>;
  #chunk: readonly Row[] = [];
  #index = 0;
  #ended = false;
  /** The run being counted; it is the head once another row or the end follows. */
  #run: { row: Row; count: number } | undefined;
  head: Copies<Row> | undefined;

  constructor(chunks: AsyncIterable<readonly Row[]>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Moves on to the next run. Returns false when more rows are needed: `fill`. */
  next(): boolean {
    if (this.head !== undefined) return true;
    while (this.#index < this.#chunk.length) {
      const row = this.#chunk[this.#index]!;
      const order = this.#run === undefined ? 1 : compareKeys(row, this.#run.row);
      if (order < 0) throw new RangeError(`rows out of order: ${row.id} after ${this.#run?.row.id}`);
      this.#index++;
      if (this.#run !== undefined && order === 0) {
        this.#run.count++;
        this.#run.row = row;
      } else {
        this.head = this.#run;
        this.#run = { row, count: 1 };
        if (this.head !== undefined) return true;
      }
    }
    if (!this.#ended) return false;
    this.head = this.#run;
    this.#run = undefined;
    return true;
  }

  async fill(): Promise<void> {
    do await this.load();
    while (!this.next());
  }

  async load(): Promise<void> {
    const { done, value } = await this.#chunks.next();
    this.#index = 0;
    this.#ended = done === true;
    this.#chunk = done === true ? [] : value;
  }

  take(): void {
    this.head = undefined;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

function compareKeys(a: Keyed, b: Keyed): number {
  if (a.id !== b.id) return a.id < b.id ? -1 : 1;
  if (a.digest === b.digest) return 0;
  return a.digest < b.digest ? -1 : 1;
}
