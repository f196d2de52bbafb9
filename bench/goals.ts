import { CLICKHOUSE_JSON } from './contestants/clickhouse-alone.ts';
import { MATERIALIZED } from './contestants/materialized.ts';
import { NAIVE_JSON } from './contestants/naive.ts';
import { STREAMER_JSON, STREAMER_OBSERVED, STREAMER_TEXT } from './contestants/streamer.ts';
import { WALSENDER_PACED } from './contestants/walsender.ts';
import { perMillion, spreadOf, type Figures, type Role, type Run } from './figures.ts';
import { LARGE, MAIN } from './scenarios/catch-up.ts';
import { LIVE, LIVE_10K } from './scenarios/live.ts';
import { SETTINGS } from '../src/streamer/settings.ts';

/** A bound on a figure of a run. Many compare the streamer with other contestants of the same run. */
export interface Goal {
  readonly what: string;
  readonly bound: number;
  readonly better: 'more' | 'less';
  readonly digits: number;
  /** Undefined if the run did not measure it. */
  readonly measure: (runs: readonly Run[]) => number | undefined;
}

const FRESHNESS_MS = SETTINGS.OUTBOX_FLUSH_INTERVAL_MS.default + 100;

const rowsPerSecond = (figures: Figures): number => figures.perSecond ?? figures.events / figures.seconds;
const cpu =
  (...roles: Role[]) =>
  (figures: Figures): number =>
    perMillion(
      roles.reduce((sum, role) => sum + (figures.cpu[role] ?? 0), 0),
      figures.events,
    )!;
const streamerPeak = ({ peakMb }: Figures): number | undefined => peakMb.streamer;

/** The median of a figure over the repetitions of one contestant. */
function median(
  runs: readonly Run[],
  scenario: string,
  contestant: { readonly name: string },
  figure: (figures: Figures) => number | undefined,
): number | undefined {
  const own = runs.filter((run) => run.scenario === scenario && run.contestant === contestant.name);
  return spreadOf(own.map(figure))?.median;
}

function ratio(above: number | undefined, below: number | undefined): number | undefined {
  return above === undefined || below === undefined ? undefined : above / below;
}

export const GOALS: readonly Goal[] = [
  {
    what: 'CPU of the walsender alone plus ClickHouse alone, as a share of all CPU that catching up costs (JSON typed)',
    bound: 0.9,
    better: 'more',
    digits: 2,
    measure: (runs) => {
      const walsender = median(runs, MAIN, WALSENDER_PACED, cpu('walsender'));
      const clickhouse = median(runs, MAIN, CLICKHOUSE_JSON, cpu('ClickHouse'));
      const all = median(runs, MAIN, STREAMER_JSON, cpu('streamer', 'Postgres', 'ClickHouse'));
      return walsender === undefined || clickhouse === undefined ? undefined : ratio(walsender + clickhouse, all);
    },
  },
  {
    what: 'rows/s, as a multiple of MaterializedPostgreSQL, with the same output (text only)',
    bound: 4,
    better: 'more',
    digits: 1,
    measure: (runs) =>
      ratio(median(runs, MAIN, STREAMER_TEXT, rowsPerSecond), median(runs, MAIN, MATERIALIZED, rowsPerSecond)),
  },
  {
    what: 'rows/s, as a multiple of MaterializedPostgreSQL, although only the streamer’s table types JSON',
    bound: 2,
    better: 'more',
    digits: 1,
    measure: (runs) =>
      ratio(median(runs, MAIN, STREAMER_JSON, rowsPerSecond), median(runs, MAIN, MATERIALIZED, rowsPerSecond)),
  },
  {
    what: 'rows/s, text only (a prototype without ledger and acknowledgements reached 228,000 to 313,000)',
    bound: 228_000,
    better: 'more',
    digits: 0,
    measure: (runs) => median(runs, MAIN, STREAMER_TEXT, rowsPerSecond),
  },
  {
    what: 'rows/s, JSON typed (the prototype: 123,000 to 160,000)',
    bound: 123_000,
    better: 'more',
    digits: 0,
    measure: (runs) => median(runs, MAIN, STREAMER_JSON, rowsPerSecond),
  },
  {
    what: 'CPU seconds of the streamer per million events (the prototype: 1.2 to 1.7)',
    bound: 1.7,
    better: 'less',
    digits: 2,
    measure: (runs) => median(runs, MAIN, STREAMER_JSON, cpu('streamer')),
  },
  {
    what: 'rows/s with traces and metrics, as a share of those without',
    bound: 0.97,
    better: 'more',
    digits: 3,
    measure: (runs) =>
      ratio(median(runs, MAIN, STREAMER_OBSERVED, rowsPerSecond), median(runs, MAIN, STREAMER_JSON, rowsPerSecond)),
  },
  {
    what: 'CPU of the naive streamer, as a multiple of the streamer’s',
    bound: 5,
    better: 'more',
    digits: 1,
    measure: (runs) =>
      ratio(median(runs, MAIN, NAIVE_JSON, cpu('streamer')), median(runs, MAIN, STREAMER_JSON, cpu('streamer'))),
  },
  {
    what: 'CPU of the streamer, as a share of its walsender’s',
    bound: 0.5,
    better: 'less',
    digits: 2,
    measure: (runs) =>
      ratio(median(runs, MAIN, STREAMER_JSON, cpu('streamer')), median(runs, MAIN, STREAMER_JSON, cpu('walsender'))),
  },
  {
    what: 'peak RSS of the streamer with ten times the backlog, as a multiple of its peak with one',
    bound: 1.1,
    better: 'less',
    digits: 2,
    measure: (runs) =>
      ratio(median(runs, LARGE, STREAMER_JSON, streamerPeak), median(runs, MAIN, STREAMER_JSON, streamerPeak)),
  },
  {
    what: 'freshness p99 at 10,000 events/s, ms (flush interval + 100 ms)',
    bound: FRESHNESS_MS,
    better: 'less',
    digits: 0,
    measure: (runs) => median(runs, LIVE.name, { name: LIVE_10K }, ({ freshness }) => freshness?.p99),
  },
  {
    what: 'inserts per million events, catching up',
    bound: 25,
    better: 'less',
    digits: 1,
    measure: (runs) => median(runs, MAIN, STREAMER_JSON, ({ inserts, events }) => perMillion(inserts, events)),
  },
];

export function isMet({ bound, better }: Goal, measured: number): boolean {
  return better === 'more' ? measured >= bound : measured <= bound;
}
