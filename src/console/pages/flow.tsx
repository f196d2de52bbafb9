import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { ChartRange, Charts, Flow } from '../../streamer/commands/console/api.ts';
import { useAsk, type Answer } from '../ask.ts';
import { bytes, count, duration, short } from '../format.ts';
import { Sql, Trouble, useNow } from '../parts/bits.tsx';
import { Chart } from '../parts/chart.tsx';
import { Picture } from '../parts/picture.tsx';
import { to, type Place } from '../route.ts';

const FLOW_MS = 5000;
/** Older figures are not shown: they might be anything by now. */
const STALE_MS = 20_000;
const RANGES: readonly (readonly [range: ChartRange, name: string, everyMs: number])[] = [
  ['hour', 'Last hour', 20_000],
  ['day', 'Day', 60_000],
  ['week', 'Week', 300_000],
];

/** What is known now; undefined where the last answer is too old. */
export function useFlow(slot: string): Answer<Flow> & { readonly isStale: boolean } {
  const answer = useAsk<Flow>(`api/flow?slot=${encodeURIComponent(slot)}`, FLOW_MS);
  const now = useNow(1000);
  const isStale = answer.data !== undefined && now - answer.at > STALE_MS;
  return { ...answer, isStale, data: isStale || answer.failure !== undefined ? undefined : answer.data };
}

export function FlowPage({
  slot,
  place,
  flow,
}: {
  slot: string;
  place: Place;
  flow: ReturnType<typeof useFlow>;
}): JSX.Element {
  const { data, failure, isStale } = flow;
  return (
    <>
      <Verdict flow={flow} slot={slot} />
      {failure !== undefined && <Trouble failure={failure} />}
      {isStale && failure === undefined && (
        <p class="note warn">The console’s server has not answered for some time.</p>
      )}
      {data?.told.map((reason) => (
        <Trouble key={`${reason.code} ${reason.message}`} failure={reason} level={reason.isWarning ? 'warn' : 'bad'} />
      ))}
      <Picture flow={data} />
      <ChartsOf slot={slot} range={(place.query.get('range') as ChartRange | null) ?? 'hour'} />
    </>
  );
}

function Verdict({
  flow: { data, isAsking, failure },
  slot,
}: {
  flow: ReturnType<typeof useFlow>;
  slot: string;
}): JSX.Element {
  const [word, level] =
    data === undefined
      ? isAsking && failure === undefined
        ? ['Looking …', 'unknown']
        : ['Unknown', 'unknown']
      : data.report.flowing
        ? data.told.length > 0
          ? ['Flowing', 'warn']
          : ['Flowing', 'ok']
        : ['Not flowing', 'bad'];
  return (
    <header class={`verdict ${level}`}>
      <h1>
        <span class="dot" aria-hidden="true" />
        <span role="status">
          {word}
          {level === 'warn' && <span class="hidden">, with a warning</span>}
        </span>
      </h1>
      <p class="dim">
        slot <span class="mono">{slot}</span> to table <span class="mono">{data?.report.table ?? '…'}</span>
        {data !== undefined && <> · looked at {new Date(data.report.at).toLocaleTimeString('en-GB')}</>}
      </p>
    </header>
  );
}

function ChartsOf({ slot, range }: { slot: string; range: ChartRange }): JSX.Element {
  const everyMs = RANGES.find(([name]) => name === range)?.[2] ?? 20_000;
  const { data, failure } = useAsk<Charts>(`api/charts?slot=${encodeURIComponent(slot)}&range=${range}`, everyMs);
  return (
    <section aria-labelledby="charts">
      <div class="row between">
        <h2 id="charts">Over time</h2>
        <nav class="tabs" aria-label="Range of the charts">
          {RANGES.map(([name, text]) => (
            <a key={name} href={to('flow', { range: name })} aria-current={name === range ? 'true' : undefined}>
              {text}
            </a>
          ))}
        </nav>
      </div>
      {failure !== undefined && <Trouble failure={failure} />}
      {data?.failure != null && <Trouble failure={data.failure} level="warn" />}
      {data !== undefined && failure === undefined && <AllCharts data={data} />}
      {data === undefined && failure === undefined && <div class="charts waiting" aria-busy="true" />}
    </section>
  );
}

function AllCharts({ data }: { data: Charts }): JSX.Element {
  const { from, stepSeconds, steps, types, p50, p99, rowsPerInsert, parts, keptBytes, sql } = data;
  const series = useMemo(
    () => ({
      events: types.map(({ type, counts }) => ({ name: type, values: counts.map((n) => (n * 60) / stepSeconds) })),
      fresh: [
        { name: 'p50', values: p50 },
        { name: 'p99', values: p99 },
      ],
      rows: [{ name: 'rows', values: rowsPerInsert }],
      parts: [{ name: 'parts', values: parts }],
      wal: [{ name: 'WAL', values: keptBytes }],
    }),
    [data],
  );
  const time = { from, stepSeconds, steps };
  return (
    <>
      <div class="charts">
        <Chart
          {...time}
          title="Events"
          meaning="a minute by type, by event_date_time"
          series={series.events}
          isStacked
          format={short}
        />
        <Chart {...time} title="Freshness" meaning="from commit to insert" series={series.fresh} format={duration} />
        <Chart {...time} title="Rows per insert" meaning="on average" series={series.rows} format={short} />
        <Chart
          {...time}
          title="Parts"
          meaning="in ClickHouse, since this console began"
          series={series.parts}
          format={count}
        />
        <Chart
          {...time}
          title="WAL kept"
          meaning="for the slot, since this console began"
          series={series.wal}
          format={bytes}
        />
      </div>
      <Sql statements={sql} />
    </>
  );
}
