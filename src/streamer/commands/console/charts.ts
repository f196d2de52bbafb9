import type { ChartRange, Charts } from './api.ts';
import { LIMITS } from './limits.ts';
import type { Questions } from './questions.ts';
import { readable, type Question } from './sql.ts';

interface Range {
  readonly stepSeconds: number;
  readonly steps: number;
  /** How old the newest steps may be. */
  readonly everyMs: number;
  /** How old the others may be: events arrive late where something was down. */
  readonly wholeEveryMs: number;
}

/** A reading of the week is dear, and what it shows moves slowly. */
export const RANGES: Readonly<Record<ChartRange, Range>> = {
  hour: { stepSeconds: 60, steps: 60, everyMs: 15_000, wholeEveryMs: 15_000 },
  day: { stepSeconds: 900, steps: 96, everyMs: 60_000, wholeEveryMs: 600_000 },
  week: { stepSeconds: 7200, steps: 84, everyMs: 300_000, wholeEveryMs: 3_600_000 },
};
/** Of types that are told apart, in the chart and in each step. */
const TYPES = 6;
const TYPES_OF_STEP = 50;

export type FromTable = Pick<Charts, 'from' | 'types' | 'p50' | 'p99' | 'rowsPerInsert' | 'sql'>;

/** What is known of one step. */
interface Step {
  readonly types: Map<string, number>;
  events: number;
  p50: number | null;
  p99: number | null;
  rows: number | null;
}

interface CountRow {
  readonly at: number;
  readonly type: string;
  readonly n: string;
}

interface PaceRow {
  readonly at: number;
  readonly n: string;
  readonly late: readonly [number | null, number | null];
  readonly rows: number | null;
}

/** The table's order is that of event_date_time, so that no more than the window is read. */
const WHERE = `event_date_time >= fromUnixTimestamp({from:UInt32}) AND event_date_time < fromUnixTimestamp({to:UInt32})
    AND source = {source:String}`;
const AT = 'toUInt32(intDiv(toUnixTimestamp(event_date_time), {step:UInt32}) * {step:UInt32}) AS at';

/** The charts of one range and source. Steps that are over are read again only now and then. */
export class ChartReader {
  readonly #range: Range;
  readonly #clickhouse: Questions;
  readonly #table: string;
  #steps = new Map<number, Step>();
  #wholeAtMs = -Infinity;

  constructor(range: Range, clickhouse: Questions, table: string) {
    this.#range = range;
    this.#clickhouse = clickhouse;
    this.#table = table;
  }

  /** The window that ends with the step under way. Throws OUTBOX_CH_*. */
  async read(source: string, nowMs: number, signal: AbortSignal): Promise<FromTable> {
    const { stepSeconds, steps, wholeEveryMs } = this.#range;
    const from = windowFrom(this.#range, nowMs);
    const to = from + steps * stepSeconds;
    const isWhole = nowMs - this.#wholeAtMs >= wholeEveryMs;
    const newest = Math.max(from, ...this.#steps.keys());
    const questions = questionsOf(this.#table, source, {
      from: isWhole ? from : newest - stepSeconds,
      to,
      step: stepSeconds,
    });
    const ask = async <Row>({ sql, parameters }: Question): Promise<Row[]> =>
      this.#clickhouse.selectWithin<Row>(LIMITS, sql, parameters, signal);
    const [counted, paced] = await Promise.all([ask<CountRow>(questions.counts), ask<PaceRow>(questions.pace)]);
    const kept = isWhole ? [] : [...this.#steps].filter(([at]) => at >= from && at < newest - stepSeconds);
    this.#steps = new Map([...kept, ...stepsOf(counted, paced)]);
    if (isWhole) this.#wholeAtMs = nowMs;
    const whole = questionsOf(this.#table, source, { from, to, step: stepSeconds });
    return { ...this.#series(from), sql: [readable(whole.counts), readable(whole.pace)] };
  }

  #series(from: number): Omit<FromTable, 'sql'> {
    const { stepSeconds, steps } = this.#range;
    const all = Array.from({ length: steps }, (_, index) => this.#steps.get(from + index * stepSeconds));
    const totals = new Map<string, number>();
    for (const step of all) for (const [type, n] of step?.types ?? []) totals.set(type, (totals.get(type) ?? 0) + n);
    const named = [...totals].toSorted(([, one], [, other]) => other - one).slice(0, TYPES);
    const types = named.map(([type]) => ({ type, counts: all.map((step) => step?.types.get(type) ?? 0) }));
    const others = all.map((step, index) =>
      types.reduce((left, { counts }) => left - counts[index]!, step?.events ?? 0),
    );
    return {
      from,
      types: others.some((n) => n > 0) ? [...types, { type: '', counts: others }] : types,
      p50: all.map((step) => step?.p50 ?? null),
      p99: all.map((step) => step?.p99 ?? null),
      rowsPerInsert: all.map((step) => step?.rows ?? null),
    };
  }
}

/** s since 1970. */
export function windowFrom({ stepSeconds, steps }: Range, nowMs: number): number {
  return (Math.floor(nowMs / 1000 / stepSeconds) + 1 - steps) * stepSeconds;
}

function questionsOf(
  table: string,
  source: string,
  window: { readonly from: number; readonly to: number; readonly step: number },
): { counts: Question; pace: Question } {
  const parameters = { table, source, ...window };
  return {
    counts: {
      sql: `SELECT ${AT}, event_type AS type, toString(count()) AS n
  FROM {table:Identifier}
  WHERE ${WHERE}
  GROUP BY at, type ORDER BY at, count() DESC, type LIMIT ${TYPES_OF_STEP} BY at`,
      parameters,
    },
    // what a repair or a retry brings is late for another reason
    pace: {
      sql: `SELECT ${AT}, toString(count()) AS n, countIf(origin = 'stream') / uniqIf(delivered_at, origin = 'stream') AS rows,
    quantilesIf(0.5, 0.99)((toUnixTimestamp64Micro(delivered_at) - toUnixTimestamp64Micro(committed_at)) / 1000000, origin = 'stream') AS late
  FROM {table:Identifier}
  WHERE ${WHERE}
  GROUP BY at ORDER BY at`,
      parameters,
    },
  };
}

function stepsOf(counted: readonly CountRow[], paced: readonly PaceRow[]): [number, Step][] {
  const steps = new Map<number, Step>();
  for (const { at, n, late, rows } of paced)
    steps.set(at, { types: new Map(), events: Number(n), p50: late[0], p99: late[1], rows });
  for (const { at, type, n } of counted) steps.get(at)?.types.set(type, Number(n));
  return [...steps];
}
