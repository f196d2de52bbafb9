import { type Hour, type Manifest } from './manifest.ts';
import { among, Remainder, Tally, type EventDigests } from './tally.ts';

/** How an hour differs from its manifest. */
export type HourFault = 'altered' | 'missing' | 'added' | 'moved' | 'superseded';

export interface HourVerdict {
  readonly fault: HourFault;
  /** Events, as far as the counts tell. */
  readonly count: number;
  readonly why: string;
}

/** What the manifests say of an hour: the latest part is compared with all its events, each earlier one with those without what came later. */
export class HourPlan {
  latest: Manifest;
  readonly #earlier: { readonly manifest: Manifest; readonly later: string[] }[] = [];

  constructor(first: Manifest) {
    this.latest = first;
  }

  add(part: Manifest): void {
    this.#earlier.push({ manifest: this.latest, later: [] });
    for (const { later } of this.#earlier) later.push(...part.added);
    this.latest = part;
  }

  begin(): HourCheck {
    return new HourCheck(this.latest, this.#earlier);
  }
}

/** One hour, whose events come in the order of their digests. */
export class HourCheck {
  readonly #manifest: Manifest;
  readonly #tally = new Tally();
  /** Without what has come out of quarantine since: no part of it is made yet. */
  readonly #before: Remainder | undefined;
  readonly #earlier: { readonly manifest: Manifest; readonly rest: Remainder }[];

  constructor(
    manifest: Manifest,
    earlier: readonly { readonly manifest: Manifest; readonly later: readonly string[] }[],
  ) {
    this.#manifest = manifest;
    this.#before = manifest.absent.length === 0 ? undefined : new Remainder(among(manifest.absent));
    this.#earlier = earlier.map((one) => ({ manifest: one.manifest, rest: new Remainder(among(one.later)) }));
  }

  add(event: EventDigests): void {
    this.#tally.add(event);
    this.#before?.add(event);
    for (const { rest } of this.#earlier) rest.add(event);
  }

  /** To be asked once, at the end; undefined where all is as the manifests say. */
  verdict(): HourVerdict | undefined {
    const { number, events, witnessed, delivered } = this.#manifest;
    const now = this.#tally.result();
    const manifest = `the manifest ${number}`;
    if (now.witnessed !== witnessed) {
      if (this.#before?.witnessed() === witnessed) return undefined;
      const more = now.events - events;
      if (more < 0)
        return { fault: 'missing', count: -more, why: `${now.events} events, and ${events} in ${manifest}` };
      if (more > 0) return { fault: 'added', count: more, why: `${now.events} events, and ${events} in ${manifest}` };
      return { fault: 'altered', count: 0, why: `${events} events, of which some are not those of ${manifest}` };
    }
    if (now.delivered !== delivered)
      return {
        fault: 'moved',
        count: 0,
        why: `the events of ${manifest}, with other positions, times of delivery, sources or origins`,
      };
    const odd = this.#earlier.find(({ manifest: part, rest }) => rest.witnessed() !== part.witnessed);
    if (odd === undefined) return undefined;
    const why = `${manifest} does not go on from the manifest ${odd.manifest.number}, whose events it replaces`;
    return { fault: 'superseded', count: 0, why };
  }
}

/** Hours that are read by one question: with so many events, or the last ones. */
export interface HourRange {
  readonly from: Hour;
  readonly to: Hour;
}

/** Cuts the hours into ranges of about so many events, as their manifests count them. */
export function* rangesOf(
  plans: ReadonlyMap<Hour, HourPlan>,
  { from, to }: HourRange,
  atOnce: number,
): Generator<HourRange, void, undefined> {
  let [start, events] = [from, 0];
  for (let hour = from; hour < to; hour++) {
    events += plans.get(hour)?.latest.events ?? 0;
    if (events < atOnce) continue;
    yield { from: start, to: hour + 1 };
    [start, events] = [hour + 1, 0];
  }
  if (start < to) yield { from: start, to };
}
