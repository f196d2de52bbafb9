import { availableParallelism } from 'node:os';
import { CLICKHOUSE_JSON, CLICKHOUSE_TEXT } from './contestants/clickhouse-alone.ts';
import { DIRECT } from './contestants/direct.ts';
import { MATERIALIZED } from './contestants/materialized.ts';
import { NAIVE_JSON, NAIVE_TEXT } from './contestants/naive.ts';
import { POLLING_JSON, POLLING_TEXT } from './contestants/polling.ts';
import { STREAMER_JSON, STREAMER_OBSERVED, STREAMER_TEXT } from './contestants/streamer.ts';
import { TRANSACTIONAL_OUTBOX } from './contestants/transactional-outbox.ts';
import { WALSENDER_PACED } from './contestants/walsender.ts';
import { perMillion, spreadOf, type Figures, type Role, type Run } from './figures.ts';
import { LARGE, MAIN } from './scenarios/catch-up.ts';
import { LIVE, LIVE_10K } from './scenarios/live.ts';
import { SETTINGS } from '../src/streamer/settings.ts';

/** A bound on a figure of a run: a ratio of figures of the same run, or a count. What depends on the machine is no goal. */
export interface Goal {
  readonly what: string;
  readonly bound: number;
  readonly better: 'more' | 'less';
  readonly digits: number;
  /** Undefined if the run did not measure it. */
  readonly measure: (runs: readonly Run[]) => number | undefined;
}

const FLUSH_MS = SETTINGS.OUTBOX_FLUSH_INTERVAL_MS.default;
/** Peers, and the streamer that makes the same output. */
const JSON_PEERS = [POLLING_JSON, NAIVE_JSON, TRANSACTIONAL_OUTBOX, DIRECT];
const TEXT_PEERS = [MATERIALIZED, POLLING_TEXT, NAIVE_TEXT];

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

/** CPU seconds per million events that nobody can do without: a walsender, and ClickHouse. */
function needed(runs: readonly Run[], clickhouse: { readonly name: string }): number | undefined {
  const walsender = median(runs, MAIN, WALSENDER_PACED, cpu('walsender'));
  const target = median(runs, MAIN, clickhouse, cpu('ClickHouse'));
  return walsender === undefined || target === undefined ? undefined : walsender + target;
}

function efficiency(
  of: string,
  streamer: { readonly name: string },
  clickhouse: { readonly name: string },
  bound: number,
): Goal[] {
  return [
    {
      what: `CPU that walsender alone and ClickHouse alone need, as a share of all CPU that catching up costs (${of})`,
      bound,
      better: 'more',
      digits: 2,
      measure: (runs) =>
        ratio(needed(runs, clickhouse), median(runs, MAIN, streamer, cpu('streamer', 'Postgres', 'ClickHouse'))),
    },
    {
      what: `rows/s, as a share of what all cores would allow if nothing but that CPU were needed (${of})`,
      bound,
      better: 'more',
      digits: 2,
      measure: (runs) => {
        const seconds = needed(runs, clickhouse);
        const allowed = seconds === undefined ? undefined : (availableParallelism() * 1_000_000) / seconds;
        return ratio(median(runs, MAIN, streamer, rowsPerSecond), allowed);
      },
    },
  ];
}

/** The least of the multiples. */
function ofPeers(of: string, streamer: { readonly name: string }, peers: readonly { readonly name: string }[]): Goal {
  return {
    what: `rows/s, as a multiple of the fastest peer (${of})`,
    bound: 1,
    better: 'more',
    digits: 2,
    measure: (runs) => {
      const own = median(runs, MAIN, streamer, rowsPerSecond);
      const multiples = peers.map((peer) => ratio(own, median(runs, MAIN, peer, rowsPerSecond)));
      return multiples.includes(undefined) ? undefined : Math.min(...multiples.map(Number));
    },
  };
}

export const GOALS: readonly Goal[] = [
  ...efficiency('JSON typed', STREAMER_JSON, CLICKHOUSE_JSON, 0.9),
  ...efficiency('text only', STREAMER_TEXT, CLICKHOUSE_TEXT, 0.8),
  {
    what: 'CPU of the streamer, as a share of its walsender’s, with ten times the backlog',
    bound: 0.4,
    better: 'less',
    digits: 2,
    measure: (runs) =>
      ratio(median(runs, LARGE, STREAMER_JSON, cpu('streamer')), median(runs, LARGE, STREAMER_JSON, cpu('walsender'))),
  },
  ofPeers('JSON typed', STREAMER_JSON, JSON_PEERS),
  ofPeers('text only', STREAMER_TEXT, TEXT_PEERS),
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
    what: 'peak RSS of the streamer with ten times the backlog, as a multiple of its peak with one',
    bound: 1.1,
    better: 'less',
    digits: 2,
    measure: (runs) =>
      ratio(median(runs, LARGE, STREAMER_JSON, streamerPeak), median(runs, MAIN, STREAMER_JSON, streamerPeak)),
  },
  {
    what: 'freshness p99 at 10,000 events/s, as a multiple of the flush interval',
    bound: 1.1,
    better: 'less',
    digits: 2,
    measure: (runs) =>
      ratio(
        median(runs, LIVE.name, { name: LIVE_10K }, ({ freshness }) => freshness?.p99),
        FLUSH_MS,
      ),
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
