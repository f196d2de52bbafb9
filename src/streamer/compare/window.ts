import { FIRST_US, LAST_US } from '../clickhouse/event-time.ts';

/** Dates of events, from inclusive to exclusive, in µs since 1970; undefined is without a bound. */
export interface Window {
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
}

export const ALL: Window = { from: undefined, to: undefined };

/** Events are first compared by the hour. */
export const BUCKET_US = 3_600_000_000n;
/** Each is a condition of a query; beyond it, neighbours are joined with what lies between them. */
const MAX_RANGES = 100;

/** Whole hours, from inclusive to exclusive, in µs since 1970. */
export interface Range {
  readonly from: bigint;
  readonly to: bigint;
}

/** Collects buckets (hours since 1900, ascending) into few ranges that cover all of them. */
export class Ranges {
  #list: { first: number; last: number }[] = [];

  add(bucket: number): void {
    const previous = this.#list.at(-1);
    if (previous !== undefined && bucket <= previous.last + 1) previous.last = bucket;
    else this.#list.push({ first: bucket, last: bucket });
    if (this.#list.length > MAX_RANGES)
      this.#list = this.#list
        .filter((_, index) => index % 2 === 0)
        .map(({ first, last }, index) => ({ first, last: this.#list[index * 2 + 1]?.last ?? last }));
  }

  list(): Range[] {
    return this.#list.map(({ first, last }) => ({
      from: FIRST_US + BigInt(first) * BUCKET_US,
      to: FIRST_US + BigInt(last + 1) * BUCKET_US,
    }));
  }
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `90s`, `30m`, `24h`, `7d`, or plain `0`, in ms; undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const [, count, unit = ''] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  const unitMs = UNITS_MS[unit];
  return unitMs === undefined ? undefined : Number(count) * unitMs;
}

const ISO_TIME = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,6}))?(Z|[+-]\d{2}:\d{2})?)?$/;

/**
 * A duration back from now, or an ISO time to the microsecond, which is UTC without an offset: in µs since 1970; undefined
 * when it is neither.
 */
export function parseTime(text: string, nowMs: number): bigint | undefined {
  const backMs = parseDuration(text);
  if (backMs !== undefined) return BigInt(nowMs - backMs) * 1000n;
  const [, date, time = '00:00', fraction = '', offset = 'Z'] = ISO_TIME.exec(text) ?? [];
  if (date === undefined) return undefined;
  const ms = Date.parse(`${date}T${time}${offset}`);
  // the 31st of a shorter month would be taken for a day of the next one
  if (Number.isNaN(ms) || !isDay(date)) return undefined;
  return BigInt(ms) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

function isDay(date: string): boolean {
  const ms = Date.parse(`${date}T00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date);
}

/** `2024-02-29T23:59:59.123456Z`; the ends of what ClickHouse holds say that more may lie behind them. */
export function formatTime(us: bigint): string {
  const fraction = ((us % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = new Date(Number((us - fraction) / 1000n)).toISOString().slice(0, 19);
  const bound = us === FIRST_US ? ' or earlier' : us === LAST_US ? ' or later' : '';
  return `${seconds}.${String(fraction).padStart(6, '0')}Z${bound}`;
}

/** The window of `--from` and `--to`, and every problem with them. */
export function readWindow(
  texts: { readonly from?: string | undefined; readonly to?: string | undefined },
  nowMs: number,
): { window: Window; problems: string[] } {
  const problems: string[] = [];
  const time = (name: 'from' | 'to'): bigint | undefined => {
    const text = texts[name];
    if (text === undefined) return undefined;
    const us = parseTime(text, nowMs);
    if (us === undefined) problems.push(`--${name} must be an ISO time or a duration such as 24h`);
    else if (us < FIRST_US || us > LAST_US) problems.push(`--${name} must lie between 1900 and 2299`);
    return us;
  };
  const window = { from: time('from'), to: time('to') };
  if (window.from !== undefined && window.to !== undefined && window.from >= window.to)
    problems.push('--from must be earlier than --to');
  return { window, problems };
}
