import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { Text } from './text.tsx';

const HEIGHT = 150;
const PALETTE = ['--c1', '--c2', '--c3', '--c4', '--c5', '--c6', '--c7'];

export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

export interface ChartProps {
  readonly title: string;
  /** What a value means, below the title. */
  readonly meaning: string;
  /** s since 1970, of the first value. */
  readonly from: number;
  readonly stepSeconds: number;
  readonly steps: number;
  readonly series: readonly Series[];
  readonly isStacked?: boolean;
  readonly format: (value: number) => string;
}

/** Values over time. What is not known is a gap. */
export function Chart(props: ChartProps): JSX.Element {
  const { title, meaning, series, format, steps } = props;
  const box = useRef<HTMLDivElement>(null);
  const [under, setUnder] = useState<number>();
  const theme = useTheme();
  useEffect(() => {
    if (box.current === null) return undefined;
    const plot = draw(box.current, props, (index) => setUnder(index));
    const resize = new ResizeObserver(([entry]) => {
      if (entry !== undefined) plot.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT });
    });
    resize.observe(box.current);
    return () => {
      resize.disconnect();
      plot.destroy();
    };
  }, [props.from, props.stepSeconds, series, theme]);
  const shown = under ?? lastKnown(series, steps);
  const isEmpty = series.every(({ values }) => values.every((value) => value === null || value === undefined));
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong> <span class="dim">{meaning}</span>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title}: ${summaryOf(series, format)}`} />
      {isEmpty && <p class="dim nothing">nothing in this time</p>}
      <ul class="legend">
        {series.map(({ name, values }, index) => (
          <li key={name}>
            <span class={`swatch s${(index % PALETTE.length) + 1}`} />
            <span class="name">{name === '' ? 'others' : <Text of={name} />}</span>
            <span class="value">{valueText(values[shown], format)}</span>
          </li>
        ))}
      </ul>
    </figure>
  );
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? '–' : format(value);
}

/** The last step that is over, where there is one. */
function lastKnown(series: readonly Series[], steps: number): number {
  for (let index = steps - 2; index >= 0; index--) if (series.some(({ values }) => values[index] != null)) return index;
  return steps - 1;
}

/** For who does not see the drawing. */
function summaryOf(series: readonly Series[], format: (value: number) => string): string {
  const texts = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (known.length === 0) return `${name || 'others'} unknown`;
    return `${name || 'others'} last ${format(known.at(-1)!)}, highest ${format(Math.max(...known))}`;
  });
  return texts.join('; ') || 'nothing in this time';
}

function draw(box: HTMLElement, props: ChartProps, onCursor: (index: number | undefined) => void): uPlot {
  const { from, stepSeconds, steps, series, isStacked = false, format } = props;
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const times = Array.from({ length: steps }, (_, index) => from + index * stepSeconds);
  // of what is stacked, the sum of all comes first, so that the others are drawn over it
  const drawn = isStacked ? sums(series, steps).toReversed() : series.map(({ values }) => values);
  const colours = series.map((_, index) => colour(PALETTE[index % PALETTE.length]!));
  const inOrder = isStacked ? colours.toReversed() : colours;
  const axis: uPlot.Axis = {
    stroke: colour('--dim'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  };
  return new uPlot(
    {
      width: Math.max(1, box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { show: !isStacked }, drag: { x: false, y: false } },
      scales: {
        // a value is of the step that begins then, and the last step is shown, too
        x: { range: [from, from + steps * stepSeconds] },
        y: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 60, values: TIME_FORMAT },
        { ...axis, size: 56, space: 32, values: (_, splits) => splits.map((value) => format(value)) },
      ],
      series: [
        {},
        ...drawn.map((_, index): uPlot.Series => {
          const stroke = inOrder[index]!;
          return isStacked
            ? {
                stroke,
                fill: stroke,
                width: 0,
                points: { show: false },
                paths: uPlot.paths.bars!({ size: [0.86], align: 1 }),
              }
            : { stroke, width: 1.5, points: { show: true, size: 4, fill: stroke, filter: alone }, spanGaps: false };
        }),
      ],
      hooks: { setCursor: [({ cursor }) => onCursor(cursor.idx ?? undefined)] },
    },
    [times, ...drawn.map((values) => Array.from({ length: steps }, (_, index) => values[index] ?? null))],
    box,
  );
}

/** A line does not show a value between two gaps. */
function alone(plot: uPlot, index: number): number[] {
  const values = plot.data[index] ?? [];
  return [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
}

function sums(series: readonly Series[], steps: number): number[][] {
  let below = Array.from({ length: steps }, () => 0);
  return series.map(({ values }) => (below = below.map((sum, index) => sum + (values[index] ?? 0))));
}

/** In the browser's time, a day as month and day. */
const TIME_FORMAT: uPlot.Axis.Values = [
  [86_400, '{MMM} {D}', null, null, null, null, null, null, 1],
  [3600, '{HH}:{mm}', null, null, '{MMM} {D}', null, null, null, 0],
  [60, '{HH}:{mm}', null, null, null, null, null, null, 1],
] as never;

/** Changes when the colours do. */
function useTheme(): boolean {
  const [isDark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches);
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)');
    const onChange = (): void => setDark(query.matches);
    query.addEventListener('change', onChange);
    return () => query.removeEventListener('change', onChange);
  }, []);
  return isDark;
}
