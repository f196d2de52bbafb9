import type { Lsn } from '../lsn.ts';
import type { Intake } from './batch/intake.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { PublicationWatch } from './source/publication-watch.ts';

/** While idle, each permission to acknowledge is a write to the ledger, and so WAL of its own. */
const IDLE_ACK_BYTES = 1024 * 1024;
/** A slot that keeps more than that while idle is given an ack for less, but only so often: each may free WAL at last. */
const RETAINED_BYTES = 16 * 1024 * 1024;
/** Postgres notes this often where decoding may begin, and moves there with the next ack. */
const RELEASE_MS = 15_000;

interface AckSources {
  readonly intake: Intake;
  readonly ledger: Pick<Ledger, 'state' | 'allowAck'>;
  readonly watch: Pick<PublicationWatch, 'publishedLsn'>;
}

/**
 * What Postgres may be told to forget (invariant 2): what the stream has settled, the ledger allows, and a good check of the
 * publication vouches for.
 */
export class Acks {
  readonly #sources: AckSources;
  #holdUntil: Lsn = 0;
  #retainedBytes = 0;
  #releasedAt = -Infinity;

  constructor(sources: AckSources) {
    this.#sources = sources;
  }

  /** The flush LSN. */
  get flushLsn(): Lsn {
    const { intake, ledger } = this.#sources;
    return intake.seen < this.#holdUntil ? 0 : Math.min(this.applyLsn, ledger.state.acked);
  }

  /** Everything before it is delivered, whether Postgres may forget it yet or not. */
  get applyLsn(): Lsn {
    const { intake, watch } = this.#sources;
    return Math.min(intake.ackable, watch.publishedLsn);
  }

  /**
   * Is there more to acknowledge than the ledger allows? A transaction with events at once, others' WAL by the megabyte, and
   * what is left of it while the slot keeps much more.
   */
  get isOwed(): boolean {
    const { ackable, owed } = this.#sources.intake;
    const { acked } = this.#sources.ledger.state;
    if (owed > acked || ackable - acked > IDLE_ACK_BYTES) return true;
    const isHoarding = this.#retainedBytes > RETAINED_BYTES;
    return isHoarding && ackable > acked && performance.now() - this.#releasedAt > RELEASE_MS;
  }

  /** Has the ledger allow what is owed, while nothing is pending or unsettled. */
  async allow(): Promise<void> {
    const { intake, ledger } = this.#sources;
    this.#releasedAt = performance.now();
    await ledger.allowAck(intake.ackable);
  }

  /**
   * After a quarantine, nothing more until the stream itself has passed that write: a standby that the stream must not
   * overtake then has the row too, and a slot never leads what only Postgres keeps.
   */
  holdUntilStreamPasses(walEnd: Lsn): void {
    this.#holdUntil = walEnd;
  }

  /** How much WAL the slot keeps, in bytes. */
  slotRetains(bytes: number): void {
    this.#retainedBytes = bytes;
  }
}
