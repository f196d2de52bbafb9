export interface BatchSize {
  readonly rows: number;
  /** See rowBytes. */
  readonly bytes: number;
}

/** The first batch of a session, at most: ClickHouse has work soon, while larger ones are being read. */
const FIRST: BatchSize = { rows: 16_384, bytes: 8 * 1024 * 1024 };
/** Enough to reach any limit. */
const MAX_GROWTH = 1024;
/** Batches that were found too large are made smaller down to this part, and larger again after so many good ones. */
const MAX_DIVISOR = 256;
const REGROW_AFTER_BATCHES = 20;

/**
 * How large a batch may become: what the operator allows, less at the beginning (each full batch lets the next be twice as
 * large), and less for a while after ClickHouse had no room.
 */
export class BatchLimits {
  readonly #most: BatchSize;
  readonly #first: BatchSize;
  #growth = 1;
  #divisor = 1;
  #settledSinceShrunk = 0;
  rows = 0;
  bytes = 0;

  /**
   * @param most what the operator allows
   * @param first what the first batch of a session may be
   */
  constructor(most: BatchSize, first = FIRST) {
    this.#most = most;
    this.#first = first;
    this.#set();
  }

  /** A batch became full. */
  filled(): void {
    if (this.#divisor > 1) return;
    this.#growth = Math.min(MAX_GROWTH, this.#growth * 2);
    this.#set();
  }

  /** ClickHouse has no room for a batch as large as the one before: the next ones will be half of that. */
  shrink(): void {
    // what the refused batch let grow by being full
    if (this.#divisor === 1 && this.#growth > 1) this.#growth /= 2;
    this.#divideBy(Math.min(MAX_DIVISOR, this.#divisor * 2));
  }

  /** ClickHouse has a batch. */
  settled(): void {
    if (this.#divisor > 1 && ++this.#settledSinceShrunk >= REGROW_AFTER_BATCHES) this.#divideBy(this.#divisor / 2);
  }

  #divideBy(divisor: number): void {
    this.#divisor = divisor;
    this.#settledSinceShrunk = 0;
    this.#set();
  }

  #set(): void {
    const rows = Math.min(this.#most.rows, this.#first.rows * this.#growth);
    const bytes = Math.min(this.#most.bytes, this.#first.bytes * this.#growth);
    this.rows = Math.max(1, Math.floor(rows / this.#divisor));
    this.bytes = Math.floor(bytes / this.#divisor);
  }
}
