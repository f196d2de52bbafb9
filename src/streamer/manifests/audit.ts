import type { KeyObject } from 'node:crypto';
import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { expiryOf } from '../clickhouse/ttl.ts';
import { formatTime } from '../compare/window.ts';
import { ChainCheck, type Anchor, type ChainFault } from './chain-check.ts';
import { erasureFaults } from './erasure-check.ts';
import { HOUR_US, isoHour, type Hour, type Manifest } from './manifest.ts';
import { HourPlan, rangesOf, type HourCheck, type HourFault, type HourRange } from './plan.ts';
import { TableManifests } from './store.ts';
import { TableDigests } from './table-digests.ts';
import type { NamedEvent, OutboxWitness } from './outbox-witness.ts';

/** About so many events are sorted by one question. */
const EVENTS_AT_ONCE = 1_000_000;

export type FaultKind = HourFault | ChainFault['kind'] | 'unwitnessed' | 'mistyped' | 'erasure';

/** What is not as the manifests say. */
export interface Fault {
  readonly kind: FaultKind;
  readonly source: string;
  /** Of an hour, or of a manifest. */
  readonly hour: string | null;
  readonly number: number | null;
  /** Events, as far as the counts tell; 0 where they do not. */
  readonly count: number;
  readonly why: string;
  /** Those that the outbox, which still has the hour, names. */
  readonly events: readonly NamedEvent[];
}

/** What was checked of one source. */
export interface Checked {
  readonly source: string;
  manifests: number;
  signed: number;
  anchored: number;
  hours: number;
  /** Of these, hours that lack events and are so old that the table's TTL may have removed them: nothing is said of them. */
  expired: number;
  events: number;
  /** Events from before the first hour of the chain, or of the window, and from behind the last one: nothing is said of them. */
  before: number;
  behind: number;
  /** The head of the chain: for an archive. */
  head: { readonly number: number; readonly hour: string; readonly hash: string } | null;
  /** Whether the typed column was compared with the text. */
  isTyped: boolean;
}

export interface AuditOptions {
  readonly clickhouse: ClickHouse;
  readonly table: string;
  /** µs since 1970, of recorded_at; whole hours are checked. */
  readonly window: { readonly from: bigint | undefined; readonly to: bigint | undefined };
  readonly keys: ReadonlyMap<string, KeyObject> | undefined;
  readonly anchors: readonly Anchor[];
  /** Postgres, where it can be asked. */
  readonly witness: OutboxWitness | undefined;
  /** Most events that are named of one hour. */
  readonly limit: number;
  readonly onProgress: (
    progress: { step: 'comparing'; done: number; of: number } | { step: 'comparing types' },
  ) => void;
}

/**
 * Checks the manifests and recomputes them from ClickHouse's table alone, an hour after the other: memory does not grow with the events.
 * Postgres is asked, where it can be, for its copy of the manifests, and names events of hours that differ while it has them.
 */
export class Audit {
  readonly #options: AuditOptions;
  readonly #manifests: TableManifests;
  readonly checked: Checked[] = [];
  /** Events of earlier hours may have expired. */
  #expiredBefore: Hour = -Infinity;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#manifests = new TableManifests(options.clickhouse, options.table);
  }

  /** All faults, of one source after the other. Throws OUTBOX_MANIFEST_NONE, OUTBOX_CH_*, OUTBOX_PG_*. */
  async *faults(): AsyncGenerator<Fault, void, undefined> {
    const { anchors, witness, clickhouse, table } = this.#options;
    const here = (await this.#manifests.isThere()) ? await this.#manifests.sources() : [];
    const known = (await witness?.sources()) ?? [];
    const sources = [...new Set([...here, ...known, ...anchors.map(({ source }) => source)])].toSorted();
    if (sources.length === 0) throw new OutboxError('OUTBOX_MANIFEST_NONE');
    const digests = await TableDigests.open(clickhouse, table);
    this.#expiredBefore = await expiredBefore(clickhouse, table);
    for (const source of sources) yield* this.#faultsOf(source, digests);
    const isOurs = (source: string): boolean => witness?.has(source) === true;
    for (const fault of await erasureFaults(clickhouse, table, await witness?.erasures(), isOurs))
      yield { kind: 'erasure', hour: null, number: null, events: [], ...fault };
    if (this.checked.every(({ hours }) => hours === 0)) throw new OutboxError('OUTBOX_MANIFEST_NONE');
  }

  async *#faultsOf(source: string, digests: TableDigests): AsyncGenerator<Fault, void, undefined> {
    const checked: Checked = {
      source,
      manifests: 0,
      signed: 0,
      anchored: 0,
      hours: 0,
      expired: 0,
      events: 0,
      before: 0,
      behind: 0,
      head: null,
      isTyped: false,
    };
    this.checked.push(checked);
    const plans = new Map<Hour, HourPlan>();
    yield* this.#chain(source, plans, checked);
    const hours = this.#hoursOf(plans);
    if (hours === undefined) return;
    yield* this.#hours(source, plans, hours, digests, checked);
    Object.assign(checked, await digests.outside(source, hours));
    this.#options.onProgress({ step: 'comparing types' });
    const mistyped = await digests.mistyped(source, hours);
    checked.isTyped = mistyped !== undefined;
    for await (const { id, us } of mistyped ?? []) {
      const why = `the event ${id} of ${formatTime(BigInt(us))} has another event_context than the table’s DEFAULT makes of its event_context_text`;
      yield { kind: 'mistyped', source, hour: null, number: null, count: 1, why, events: [] };
    }
  }

  /** The manifests, and by the way what they say of each hour. Those that Postgres alone has count, too. */
  async *#chain(source: string, plans: Map<Hour, HourPlan>, checked: Checked): AsyncGenerator<Fault, void, undefined> {
    const { keys, anchors, witness } = this.#options;
    const check = new ChainCheck(
      keys,
      anchors.filter((anchor) => anchor.source === source),
    );
    const of = ({ kind, number, why }: ChainFault, hour: Hour | null): Fault => ({
      kind,
      source,
      hour: hour === null ? null : isoHour(hour),
      number,
      count: 0,
      why,
      events: [],
    });
    const add = (manifest: Manifest): void => {
      const plan = plans.get(manifest.hour);
      if (plan === undefined) plans.set(manifest.hour, new HourPlan(manifest));
      else plan.add(manifest);
      checked.manifests++;
      checked.head = { number: manifest.number, hour: isoHour(manifest.hour), hash: manifest.hash };
    };
    const pairs = pairsOf(
      (await this.#manifests.isThere()) ? this.#manifests.after(source, 0) : nothing(),
      witness?.manifests(source) ?? nothing(),
    );
    for await (const { here, there } of pairs) {
      const manifest = (here ?? there)!;
      const faults = [...check.add(manifest)];
      for (const fault of faults) yield of(fault, manifest.hour);
      const { number, hour } = manifest;
      if (witness !== undefined && witness.has(source) && here?.hash !== there?.hash) {
        const why =
          here === undefined
            ? 'Postgres has it, and ClickHouse does not'
            : there === undefined
              ? 'ClickHouse has it, and Postgres does not'
              : 'it is another one in Postgres';
        yield of({ kind: 'chain', number, why }, hour);
      }
      add(faults.some(({ kind }) => kind === 'chain') && there !== undefined ? there : manifest);
    }
    for (const fault of check.end()) yield of(fault, null);
    checked.signed = check.signed;
    checked.anchored = check.anchored;
  }

  /** From the first hour of the chain to the last one, within the window. */
  #hoursOf(plans: ReadonlyMap<Hour, HourPlan>): HourRange | undefined {
    const { from, to } = this.#options.window;
    let [first, last] = [Infinity, -Infinity];
    for (const hour of plans.keys()) [first, last] = [Math.min(first, hour), Math.max(last, hour)];
    if (from !== undefined) first = Math.max(first, Number(from / HOUR_US));
    if (to !== undefined) last = Math.min(last, Number((to - 1n) / HOUR_US));
    return first > last ? undefined : { from: first, to: last + 1 };
  }

  async *#hours(
    source: string,
    plans: ReadonlyMap<Hour, HourPlan>,
    hours: HourRange,
    digests: TableDigests,
    checked: Checked,
  ): AsyncGenerator<Fault, void, undefined> {
    const { onProgress } = this.#options;
    const expected = [...plans].filter(([hour]) => hour >= hours.from && hour < hours.to);
    const of = expected.reduce((sum, [, { latest }]) => sum + latest.events, 0);
    const open = new Set(expected.map(([hour]) => hour));
    let current: { hour: Hour; check: HourCheck | undefined; events: number } | undefined;
    const close = async function* (this: Audit): AsyncGenerator<Fault, void, undefined> {
      if (current === undefined) return;
      const { hour, check, events } = current;
      open.delete(hour);
      checked.hours++;
      checked.events += events;
      yield* this.#verdict(checked, hour, plans.get(hour)?.latest, check, events);
    }.bind(this);
    for (const range of rangesOf(plans, hours, EVENTS_AT_ONCE)) {
      for await (const chunk of digests.of(source, range)) {
        onProgress({ step: 'comparing', done: Math.min(of, checked.events), of });
        for (const event of chunk) {
          if (event.hour !== current?.hour) {
            yield* close();
            current = { hour: event.hour, check: plans.get(event.hour)?.begin(), events: 0 };
          }
          current.events++;
          current.check?.add(event);
        }
      }
    }
    yield* close();
    // hours of which nothing is left
    for (const hour of [...open].toSorted((a, b) => a - b)) {
      const plan = plans.get(hour)!;
      checked.hours++;
      yield* this.#verdict(checked, hour, plan.latest, plan.begin(), 0);
    }
  }

  async *#verdict(
    checked: Checked,
    hour: Hour,
    manifest: Manifest | undefined,
    check: HourCheck | undefined,
    events: number,
  ): AsyncGenerator<Fault, void, undefined> {
    const { witness, limit } = this.#options;
    const verdict =
      check === undefined
        ? { fault: 'unwitnessed' as const, count: events, why: `${events} events, and no manifest of the hour` }
        : check.verdict();
    if (verdict === undefined) return;
    const { fault: kind, count, why } = verdict;
    if (kind === 'missing' && hour < this.#expiredBefore) {
      checked.expired++;
      return;
    }
    const { source } = checked;
    const named = await witness?.named(source, hour, manifest?.absent ?? [], limit);
    yield { kind, source, hour: isoHour(hour), number: manifest?.number ?? null, count, why, events: named ?? [] };
  }
}

/** Of an hour that began before, the table's TTL may have removed events; none where it has no TTL that can be read. */
async function expiredBefore(clickhouse: ClickHouse, table: string): Promise<Hour> {
  const [row] = await clickhouse.select<{ engine_full: string }>(
    'SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
  );
  const seconds = expiryOf(row?.engine_full ?? '')?.seconds;
  return seconds === undefined ? -Infinity : (Date.now() / 1000 - seconds) / 3600;
}

/** The manifests of both databases, side by side by their numbers. */
async function* pairsOf(
  here: AsyncGenerator<Manifest, void>,
  there: AsyncGenerator<Manifest, void>,
): AsyncGenerator<{ here: Manifest | undefined; there: Manifest | undefined }, void, undefined> {
  try {
    let [one, other] = [(await here.next()).value, (await there.next()).value];
    while (one !== undefined || other !== undefined) {
      const number = Math.min(one?.number ?? Infinity, other?.number ?? Infinity);
      const pair = {
        here: one?.number === number ? one : undefined,
        there: other?.number === number ? other : undefined,
      };
      yield pair;
      if (pair.here !== undefined) one = (await here.next()).value;
      if (pair.there !== undefined) other = (await there.next()).value;
    }
  } finally {
    await here.return();
    await there.return();
  }
}

async function* nothing(): AsyncGenerator<Manifest, void, undefined> {}
