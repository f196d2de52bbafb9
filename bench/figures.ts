/** The role of a process. `Postgres` means all of its processes together, including walsenders. */
export type Role = 'streamer' | 'walsender' | 'Postgres' | 'ClickHouse' | 'producer' | 'client';

/** Time from an event's commit to the first count of ClickHouse that includes it, in ms, over all events. */
export interface Freshness {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What one repetition of one contestant measured. */
export interface Figures {
  /** The number of events that the other figures are about. */
  readonly events: number;
  readonly seconds: number;
  /** The rate, where it is not `events / seconds`. */
  readonly perSecond?: number;
  /** CPU seconds by role. */
  readonly cpu: Partial<Record<Role, number>>;
  /** Largest resident size by role, in MB of 2^20 bytes. */
  readonly peakMb: Partial<Record<Role, number>>;
  /** Resident size over time by role, in MB: the maximum of each of some equal time slices. */
  readonly curvesMb?: Partial<Record<Role, readonly number[]>>;
  /** Rows in ClickHouse at the end; undefined where none were expected. */
  readonly rows?: number;
  /** Duplicates: rows beyond the first of each event. */
  readonly doubles?: number;
  readonly inserts?: number;
  readonly parts?: number;
  readonly freshness?: Freshness;
  /** Figures that only one scenario has, by name. */
  readonly more?: Readonly<Record<string, number>>;
}

export interface Run extends Figures {
  readonly scenario: string;
  readonly contestant: string;
  readonly repetition: number;
}

/** All results of one run of the suite. */
export interface Results {
  readonly startedAt: string;
  readonly minutes: number;
  readonly machine: Readonly<Record<string, string>>;
  /** The command line's flags; empty for the standard run. */
  readonly flags: string;
  readonly runs: readonly Run[];
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Median, minimum and maximum of the defined values; undefined if there are none. */
export function spreadOf(values: readonly (number | undefined)[]): Spread | undefined {
  const sorted = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** The smallest value that is not below the given part of all values. */
export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)]!;
}

export function perMillion(value: number | undefined, events: number): number | undefined {
  return value === undefined ? undefined : (value * 1e6) / events;
}

/** `1,234,567`, with `digits` after the point. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A line of a table: a name and its figures. */
export function row(name: string, figures: readonly string[]): string {
  return `${name.padEnd(34)}${figures.map((figure) => figure.padStart(14)).join('')}`;
}

const BARS = '▁▂▃▄▅▆▇█';
const COLUMNS = 24;

/** The maximum of each of `parts` equal slices, in order; all values if there are fewer. */
export function largestOf(values: readonly number[], parts: number): number[] {
  const count = Math.min(parts, values.length);
  return Array.from({ length: count }, (_, part) => {
    const from = Math.floor((part * values.length) / count);
    const to = Math.floor(((part + 1) * values.length) / count);
    return Math.max(...values.slice(from, to));
  });
}

/** A line of bars. Each bar shows the maximum of its time slice; the highest bar is `top`. */
export function sparkline(values: readonly number[], top: number): string {
  const bar = (value: number): string =>
    BARS[Math.max(0, Math.min(BARS.length - 1, Math.ceil((value / top) * BARS.length) - 1))]!;
  return largestOf(values, COLUMNS).map(bar).join('');
}
