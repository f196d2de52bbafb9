import type { EventTime } from '../clickhouse/event-time.ts';
import { OutboxSnapshot } from '../compare/outbox.ts';
import type { Scope } from '../ledger/shares.ts';
import type { Database } from '../source/database.ts';
import { NO_HASH, sealed, type Hour, type Manifest, type SigningKey, type Statement } from './manifest.ts';
import type { OutboxManifests } from './store.ts';
import type { HourlyDigests, TableDigests } from './table-digests.ts';
import { among, Remainder, Tally, type EventDigests } from './tally.ts';
import { differs, inHour, ofItsDay, testimonyOf, unexplained, type Testimony } from './witness.ts';

export interface MakerOptions {
  readonly slot: string;
  readonly scope: Scope;
  /** What ClickHouse's table holds of a date. */
  readonly dates: EventTime;
  /** With SNAPSHOT_PARAMETERS; serves nothing else. */
  readonly snapshots: Database;
  readonly ask: Database;
  readonly digests: TableDigests;
  readonly manifests: OutboxManifests;
  readonly key: SigningKey | undefined;
}

/** An hour as it is now. */
export type Count = ReturnType<Tally['result']>;

interface Reading {
  readonly count: Count;
  readonly testimony: Testimony;
  /** What is late, by what leaves all that an earlier part covers; undefined where nothing does. */
  readonly added: readonly string[] | undefined;
}

/** Makes the manifests of one source's hours. */
export class Maker {
  readonly #options: MakerOptions;

  constructor(options: MakerOptions) {
    this.#options = options;
  }

  /**
   * The manifest of an hour, behind the last one of the chain; undefined where there is nothing to tell: the hour has no event, or
   * only what the part before covers. Nothing is written yet. Throws OUTBOX_MANIFEST_DIFFERS, OUTBOX_PG_*, OUTBOX_CH_*.
   *
   * @param former the latest part of the hour
   */
  async make(hour: Hour, former: Manifest | undefined): Promise<Manifest | undefined> {
    const { scope, key, manifests } = this.#options;
    const { count, testimony, added } = await this.#agreed(hour, former);
    const { rows, missing } = testimony;
    if (former === undefined ? count.events + rows === 0 : isSame(former, count)) return undefined;
    if (former?.witnessed === count.witnessed && rows === 0)
      throw differs(
        scope.source,
        hour,
        `other positions or times of delivery than in the manifest ${former.number}, and nothing that witnesses them`,
      );
    if (added === undefined)
      throw differs(
        scope.source,
        hour,
        `its events are neither those of the manifest ${former!.number} nor those with some that came late`,
      );
    const last = await manifests.find();
    const statement: Statement = {
      source: scope.source,
      number: (last?.number ?? 0) + 1,
      hour,
      part: (former?.part ?? 0) + 1,
      ...count,
      added,
      // without the outbox, what was absent and has not come still is
      absent: rows > 0 || former === undefined ? missing : without(former.absent, added),
      madeAt: await manifests.now(),
      previous: last?.hash ?? NO_HASH,
      keyId: key?.id ?? '',
    };
    return sealed(statement, key);
  }

  /** Whether a manifest says what both sides have of its hour now, while the outbox has it. Throws what `make` throws. */
  async confirms(manifest: Manifest): Promise<boolean> {
    const { count, testimony } = await this.#agreed(manifest.hour, undefined);
    return testimony.rows > 0 && isSame(manifest, count);
  }

  /** What both sides have of an hour, where they agree. */
  async #agreed(hour: Hour, former: Manifest | undefined): Promise<Reading> {
    const { slot, scope, ask, dates } = this.#options;
    let reading = await this.#read(hour, former, ofItsDay(hour));
    // rows that were put elsewhere by hand are in other partitions
    if (reading.testimony.extra > 0) reading = await this.#read(hour, former, inHour(hour));
    const { count, testimony } = reading;
    // what the outbox no longer has, the part before vouches for
    if (testimony.rows === 0 && former !== undefined) return reading;
    const missing = await unexplained(ask, { slot, hour, dates }, testimony.missing);
    if (missing > 0 || testimony.extra > 0)
      throw differs(
        scope.source,
        hour,
        `ClickHouse has ${count.events} events, lacks ${missing} that outbox.event has, and has ${testimony.extra} that it does not have`,
      );
    return reading;
  }

  async #read(hour: Hour, former: Manifest | undefined, condition: string): Promise<Reading> {
    const { snapshots, scope, digests, dates } = this.#options;
    const snapshot = await OutboxSnapshot.take(snapshots, { part: scope.part, dates });
    try {
      const tally = new Tally();
      const remainders = former === undefined ? [] : remaindersOf(former);
      const events = async function* (): AsyncGenerator<HourlyDigests[], void, undefined> {
        for await (const chunk of digests.of(scope.source, { from: hour, to: hour + 1 })) {
          for (const event of chunk) {
            tally.add(event);
            for (const remainder of remainders) remainder.add(event);
          }
          yield chunk;
        }
      };
      const testimony = await testimonyOf(snapshot, condition, events());
      const count = tally.result();
      return { count, testimony, added: lateOf(former, count, remainders, testimony.rows > 0) };
    } finally {
      await snapshot.close().catch(() => undefined);
    }
  }
}

/**
 * What may be late, in the order in which it is tried: events that were absent before, which are the only ones that may come when the
 * outbox has nothing of the hour any more; those that came later than all others, without those that `repair` has brought back; with them.
 */
function remaindersOf({ absent, lastDeliveredAt }: Manifest): Remainder[] {
  const last = BigInt(lastDeliveredAt);
  const either = (isLate: (event: EventDigests) => boolean): Remainder => {
    const wasAbsent = among(absent);
    return new Remainder((event) => wasAbsent(event) || isLate(event));
  };
  return [
    either(() => false),
    either(({ deliveredAt, isRepaired }) => BigInt(deliveredAt) > last && !isRepaired),
    either(({ deliveredAt }) => BigInt(deliveredAt) > last),
  ];
}

function lateOf(
  former: Manifest | undefined,
  { witnessed }: Count,
  remainders: readonly Remainder[],
  hasOutbox: boolean,
): readonly string[] | undefined {
  if (former === undefined || witnessed === former.witnessed) return [];
  const tried = hasOutbox ? remainders : remainders.slice(0, 1);
  return tried.find((remainder) => !remainder.overflows && remainder.witnessed() === former.witnessed)?.late;
}

function isSame(manifest: Manifest, { events, witnessed, delivered }: Count): boolean {
  return manifest.events === events && manifest.witnessed === witnessed && manifest.delivered === delivered;
}

function without(digests: readonly string[], gone: readonly string[]): string[] {
  const isGone = among(gone);
  return digests.filter((witnessed) => !isGone({ witnessed }));
}
