import type { ErrorCode } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { Histogram } from './histogram.ts';

const FRESHNESS_SECONDS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
const INSERT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Why nothing is read from Postgres for now. */
export type PauseReason = 'resting' | 'buffer full' | 'draining';

/** Of an attempt: ClickHouse has the rows, the same will be repeated, or ClickHouse rejects it permanently. */
export type InsertOutcome = 'done' | 'failed' | 'refused';

/** What Postgres says of the slot's WAL. */
export interface SlotWal {
  /** `reserved`, `extended` or `unreserved`: the last loses the slot at the next checkpoint, unless it catches up. */
  readonly walStatus: string;
  /** Bytes of WAL that can still be written before the slot may be lost; undefined without max_slot_wal_keep_size. */
  readonly safeWalBytes: number | undefined;
  /** Bytes of WAL that it keeps. */
  readonly retainedBytes: number;
  /** Those of them that are not acknowledged. The others are kept for transactions that were open when WAL was last decoded. */
  readonly unconfirmedBytes: number;
}

/** What one attachment to the slot holds, and how far it is. */
export interface Progress {
  /** Of the batch in flight and the one that fills. */
  readonly bufferedEvents: number;
  readonly bufferedBytes: number;
  /**
   * When the oldest event was committed that is not known to be delivered, or the oldest WAL was written that is not read, in
   * seconds since 1970; undefined when there is neither.
   */
  readonly oldestSeconds: number | undefined;
  /** Bytes of WAL that are written and not delivered. */
  readonly lagBytes: number;
  /** The commit of the last event that the ledger has as delivered. */
  readonly deliveredLsn: Lsn;
  /** What Postgres may forget. */
  readonly ackedLsn: Lsn;
  readonly epoch: number;
}

/** What the replica that takes the events says of itself and the others. */
export interface ReplicaSeen {
  /** `no Keeper`: it takes no insert, and does not see what the others take. */
  readonly state: 'writable' | 'read only' | 'no Keeper';
  readonly total: number;
  /** Those with a session with Keeper. */
  readonly active: number;
  readonly delaySeconds: number;
  /** Tasks that it has still to do: fetches, merges, mutations. */
  readonly queue: number;
  /** Since the table was made: parts that no replica had any more. */
  readonly lostParts: number;
}

/**
 * What the streamer counts. Plain numbers, so that counting costs next to nothing; their names and how they are sent are not
 * known here.
 */
export class Measures {
  /** Seconds from an event's commit until ClickHouse was known to have it. */
  readonly freshness = new Histogram(FRESHNESS_SECONDS);
  /** Seconds of an insert that ClickHouse answered well. */
  readonly insertSeconds = new Histogram(INSERT_SECONDS);
  readonly events = { delivered: 0, quarantined: 0 };
  readonly inserts: Record<InsertOutcome, number> = { done: 0, failed: 0, refused: 0 };
  readonly pauses: Record<PauseReason, number> = { resting: 0, 'buffer full': 0, draining: 0 };
  readonly retries = new Map<ErrorCode, number>();
  /** Sessions that failed; undefined is a fault without a code. */
  readonly failures = new Map<ErrorCode | undefined, number>();
  batches = 0;
  bytes = 0;
  /** Dates that were clamped. */
  clamped = 0;
  /** Events that were found in the table while nobody knows whether its views have them. */
  unproven = 0;
  /** Counts the lines that it could not write. */
  log: { readonly dropped: number } = { dropped: 0 };
  /** The slot at the last check, of a holder or a standby; undefined when that is too long ago. */
  slot: SlotWal | undefined;
  /** Events in quarantine now; undefined before an attachment's first check. */
  quarantined: number | undefined;
  /** Age of the oldest transaction that has written and is open, as far as the role may see; undefined before an attachment's first check. */
  openSeconds: number | undefined;
  /** Most parts in one partition of the table; undefined before an attachment's first check. */
  parts: number | undefined;
  /** Undefined where the table is not replicated, too. */
  replica: ReplicaSeen | undefined;
  #pausedMs = 0;
  /** When reading stopped for lack of room, by performance.now(). */
  #fullSince: number | undefined;
  #progress: (() => Progress) | undefined;

  /**
   * ClickHouse has so many more events.
   *
   * @param addAges adds the age of each of them to a histogram
   */
  delivered(events: number, addAges: (ages: Histogram) => void): void {
    this.events.delivered += events;
    addAges(this.freshness);
  }

  /** An event is in quarantine now. */
  quarantinedOne(): void {
    this.events.quarantined++;
    if (this.quarantined !== undefined) this.quarantined++;
  }

  /** An attempt to insert has ended, after so many ms. */
  inserted(outcome: InsertOutcome, ms: number): void {
    this.inserts[outcome]++;
    if (outcome === 'done') this.insertSeconds.add(ms / 1000);
  }

  /** All of a batch is delivered or in quarantine. */
  batchDone({ bytes, clamped }: { readonly bytes: number; readonly clamped: number }): void {
    this.batches++;
    this.bytes += bytes;
    this.clamped += clamped;
  }

  retried(code: ErrorCode): void {
    count(this.retries, code);
  }

  sessionFailed(code: ErrorCode | undefined): void {
    count(this.failures, code);
  }

  paused(reason: PauseReason): void {
    this.pauses[reason]++;
    if (reason === 'buffer full') this.#fullSince ??= performance.now();
  }

  resumed(reason: PauseReason): void {
    if (reason !== 'buffer full' || this.#fullSince === undefined) return;
    this.#pausedMs += performance.now() - this.#fullSince;
    this.#fullSince = undefined;
  }

  /** Seconds for which there was no room to read into. */
  get fullSeconds(): number {
    const now = this.#fullSince === undefined ? 0 : performance.now() - this.#fullSince;
    return (this.#pausedMs + now) / 1000;
  }

  /** From now on progress is that of an attachment, which is asked when somebody wants to know. */
  attached(progress: () => Progress): void {
    this.#progress = progress;
  }

  /** The attachment has ended: what it knew is another's to know, and would go stale here. */
  detached(): void {
    this.resumed('buffer full');
    this.#progress = undefined;
    this.quarantined = undefined;
    this.openSeconds = undefined;
    this.parts = undefined;
    this.replica = undefined;
  }

  /** Undefined while nothing is attached. */
  get progress(): Progress | undefined {
    return this.#progress?.();
  }
}

function count<K>(tally: Map<K, number>, key: K): void {
  tally.set(key, (tally.get(key) ?? 0) + 1);
}
