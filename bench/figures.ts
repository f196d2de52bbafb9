/** What a process was there for. `Postgres` is all of its processes together, walsenders among them. */
export type Role = 'streamer' | 'walsender' | 'Postgres' | 'ClickHouse' | 'producer' | 'client';

/** From the commit to the first answer of ClickHouse that counts the event, ms, of all events. */
export interface Freshness {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What one repetition of one contestant showed. */
export interface Figures {
  /** Of all that is counted here. */
  readonly events: number;
  readonly seconds: number;
  /** Where it is not simply events by seconds. */
  readonly perSecond?: number;
  /** CPU seconds by process. */
  readonly cpu: Partial<Record<Role, number>>;
  /** Largest resident size by process, MB of 2^20 bytes. */
  readonly peakMb: Partial<Record<Role, number>>;
  /** Resident size over the time by process, MB: the largest of each of some equal parts of the time. */
  readonly curvesMb?: Partial<Record<Role, readonly number[]>>;
  /** Rows that ClickHouse had in the end; undefined where nothing was to arrive there. */
  readonly rows?: number;
  /** Rows beyond the first of each event. */
  readonly doubles?: number;
  readonly inserts?: number;
  readonly parts?: number;
  readonly freshness?: Freshness;
  /** Figures of one scenario alone, by their names. */
  readonly more?: Readonly<Record<string, number>>;
}

export interface Run extends Figures {
  readonly scenario: string;
  readonly contestant: string;
  readonly repetition: number;
}

/** All that one run of the suite has seen. */
export interface Results {
  readonly startedAt: string;
  readonly minutes: number;
  readonly machine: Readonly<Record<string, string>>;
  /** How the run was asked for, when it was not the standard one. */
  readonly flags: string;
  readonly runs: readonly Run[];
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Of the values that are there; undefined when there is none. */
export function spreadOf(values: readonly (number | undefined)[]): Spread | undefined {
  const sorted = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** The value that `part` of all are not above. */
export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)]!;
}

export function perMillion(value: number | undefined, events: number): number | undefined {
  return value === undefined ? undefined : (value * 1e6) / events;
}

/** `1,234,567`, with `digits` behind the point. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A line of a table: a name and its figures. */
export function row(name: string, figures: readonly string[]): string {
  return `${name.padEnd(34)}${figures.map((figure) => figure.padStart(14)).join('')}`;
}

const BARS = '▁▂▃▄▅▆▇█';
const COLUMNS = 24;

/** The largest value of each of `parts` parts, in their order; all values where there are fewer. */
export function largestOf(values: readonly number[], parts: number): number[] {
  const count = Math.min(parts, values.length);
  return Array.from({ length: count }, (_, part) => {
    const from = Math.floor((part * values.length) / count);
    const to = Math.floor(((part + 1) * values.length) / count);
    return Math.max(...values.slice(from, to));
  });
}

/** A line of bars: a column is the largest of its part of the time, the highest bar is `top`. */
export function sparkline(values: readonly number[], top: number): string {
  const bar = (value: number): string =>
    BARS[Math.max(0, Math.min(BARS.length - 1, Math.ceil((value / top) * BARS.length) - 1))]!;
  return largestOf(values, COLUMNS).map(bar).join('');
}
