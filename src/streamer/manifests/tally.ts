import { createHash, type Hash } from 'node:crypto';

/** An event of ClickHouse's table, or what an erasure has left of one, by its digests in lowercase hex. */
export interface EventDigests {
  readonly witnessed: string;
  readonly delivered: string;
  /** A decimal number; 0 of one that was erased. */
  readonly lsn: string;
  /** µs since 1970; 0 of one that was erased. */
  readonly deliveredAt: string;
  /** `repair` has sent it again. */
  readonly isRepaired: boolean;
  readonly isErased: boolean;
}

/** Events as a manifest tells of them. They are added in the order of (witnessed, delivered), of which none is held. */
export class Tally {
  readonly #witnessed: Hash = createHash('sha256');
  readonly #delivered: Hash = createHash('sha256');
  events = 0;
  #firstLsn = 0n;
  #lastLsn = 0n;
  #lastDeliveredAt = 0n;

  add({ witnessed, delivered, lsn, deliveredAt, isErased }: EventDigests): void {
    this.events++;
    this.#witnessed.update(witnessed, 'hex');
    this.#delivered.update(witnessed, 'hex').update(delivered, 'hex');
    if (isErased) return;
    const [at, time] = [BigInt(lsn), BigInt(deliveredAt)];
    if (this.#firstLsn === 0n || at < this.#firstLsn) this.#firstLsn = at;
    if (at > this.#lastLsn) this.#lastLsn = at;
    if (time > this.#lastDeliveredAt) this.#lastDeliveredAt = time;
  }

  /** To be asked once, at the end. */
  result() {
    return {
      events: this.events,
      firstLsn: String(this.#firstLsn),
      lastLsn: String(this.#lastLsn),
      lastDeliveredAt: String(this.#lastDeliveredAt),
      witnessed: this.#witnessed.digest('hex'),
      delivered: this.#delivered.digest('hex'),
    };
  }
}

/** Most digests that one manifest names: more late events, or more in quarantine, are a fault of the table. */
export const MAX_NAMED = 100_000;

/** The events of an hour without some of them: what an earlier part of its manifest covers. */
export class Remainder {
  readonly #witnessed: Hash = createHash('sha256');
  readonly #isLate: (event: EventDigests) => boolean;
  /** Those that were left out; more of them are than a manifest names where it `overflows`. */
  readonly late: string[] = [];
  overflows = false;

  constructor(isLate: (event: EventDigests) => boolean) {
    this.#isLate = isLate;
  }

  add(event: EventDigests): void {
    if (!this.#isLate(event)) this.#witnessed.update(event.witnessed, 'hex');
    else if (this.late.length < MAX_NAMED) this.late.push(event.witnessed);
    else this.overflows = true;
  }

  /** To be asked once, at the end. */
  witnessed(): string {
    return this.#witnessed.digest('hex');
  }
}

/** Whether an event is one of these digests, each as often as it is named. */
export function among(digests: readonly string[]): (event: Pick<EventDigests, 'witnessed'>) => boolean {
  const left = new Map<string, number>();
  for (const digest of digests) left.set(digest, (left.get(digest) ?? 0) + 1);
  return ({ witnessed }) => {
    const times = left.get(witnessed) ?? 0;
    if (times > 0) left.set(witnessed, times - 1);
    return times > 0;
  };
}
