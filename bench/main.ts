/**
 * The benchmark suite: what the streamer does, what limits it, and what its peers do, in one run on one machine. Real servers
 * with fsync on. The standard run writes docs/benchmarks.md and docs/benchmarks.json; any other run does so only with `--write`.
 *
 *   npm run bench -- [--only part,of,names] [--events 1000000] [--repeat 3] [--quick] [--write]
 *
 * `--only` takes parts of the names of scenarios and contestants. `--quick` runs everything once, with 100,000 events.
 */
import { parseArgs } from 'node:util';
import { number, perMillion, type Results, type Run } from './figures.ts';
import { GOALS, isMet } from './goals.ts';
import { machine } from './machine.ts';
import { keep } from './report.ts';
import type { Scale, Scenario } from './scenario.ts';
import { Source } from './source.ts';
import { SCENARIOS } from './suite.ts';
import { Warehouse } from './warehouse.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    events: { type: 'string' },
    repeat: { type: 'string' },
    quick: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});
const { quick } = values;
const parts = values.only?.split(',').map((part) => part.trim().toLowerCase());
const scale: Scale = {
  events: Number(values.events ?? (quick ? 100_000 : 1_000_000)),
  repeat: Number(values.repeat ?? (quick ? 1 : 3)),
  liveSeconds: quick ? 5 : 30,
  stepSeconds: quick ? 3 : 10,
  outageSeconds: quick ? 5 : 60,
  wants: (scenario, contestant) =>
    parts === undefined || parts.some((part) => `${scenario}: ${contestant}`.toLowerCase().includes(part)),
};
const flags = process.argv.slice(2).filter((flag) => flag !== '--write');

const startedAt = new Date();
const facts = await describe();
for (const [what, which] of Object.entries(facts)) console.log(`${what.padEnd(25)}${which}`);

const runs: Run[] = [];
const isKept = values.write || flags.length === 0;
for (const scenario of SCENARIOS) {
  try {
    await play(scenario);
  } catch (error) {
    console.error(`${scenario.name}: failed`, error);
    process.exitCode = 1;
  }
  // keep the results so far: a later scenario may end the run
  if (isKept) keep(seen());
}

console.log('\n== goals');
for (const goal of GOALS) {
  const measured = goal.measure(runs);
  if (measured === undefined) continue;
  const bound = `${goal.better === 'more' ? '>=' : '<='} ${number(goal.bound, goal.digits)}`;
  console.log(
    `${isMet(goal, measured) ? 'met    ' : 'NOT MET'}  ${number(measured, goal.digits).padStart(9)}  ${bound.padEnd(12)}  ${goal.what}`,
  );
}
console.log(`\n${number(seen().minutes, 1)} minutes`);
if (isKept) console.log('wrote docs/benchmarks.md and docs/benchmarks.json');

async function play(scenario: Scenario): Promise<void> {
  let isFirst = true;
  for await (const run of scenario.run(scale)) {
    if (isFirst) console.log(`\n== ${scenario.name}: ${scenario.about}\n${head()}`);
    isFirst = false;
    runs.push(run);
    console.log(line(run));
    complain(run);
  }
}

function seen(): Results {
  const minutes = (Date.now() - startedAt.getTime()) / 60_000;
  return { startedAt: startedAt.toISOString(), minutes, machine: facts, flags: flags.join(' '), runs };
}

async function describe(): Promise<Record<string, string>> {
  await using source = await Source.start();
  await using warehouse = await Warehouse.start();
  return await machine(source, warehouse);
}

function head(): string {
  return cells([
    '',
    'events/s',
    'streamer',
    'walsender',
    'Postgres',
    'ClickHouse',
    'other',
    'peak MB',
    'inserts',
    'p50 ms',
    'p99 ms',
  ]);
}

/** The figures of one run. CPU is in seconds per million events, p50 and p99 are those of freshness. */
function line({ contestant, events, seconds, perSecond, cpu, peakMb, inserts, freshness, more = {} }: Run): string {
  const million = (value: number | undefined): string => show(perMillion(value, events), 2);
  const others = Object.entries(more)
    .filter(([name]) => name !== 'bytes of a context')
    .map(([name, value]) => `${name} ${number(value, 1)}`);
  return [
    cells([
      contestant,
      number(perSecond ?? events / seconds),
      million(cpu.streamer),
      million(cpu.walsender),
      million(cpu.Postgres),
      million(cpu.ClickHouse),
      million(cpu.client ?? cpu.producer),
      show(peakMb.streamer),
      show(inserts),
      show(freshness?.p50),
      show(freshness?.p99),
    ]),
    ...(others.length > 0 ? [`${' '.repeat(4)}${others.join(' · ')}`] : []),
  ].join('\n');
}

function show(value: number | undefined, digits = 0): string {
  return value === undefined ? '–' : number(value, digits);
}

function cells([name = '', ...rest]: string[]): string {
  return `${name.padEnd(38)}${rest.map((cell) => cell.padStart(11)).join('')}`;
}

/** Reports events that are missing or duplicated, and makes the suite exit with 1. */
function complain({ contestant, rows, doubles, events }: Run): void {
  if (rows === undefined || (rows === events && doubles === 0)) return;
  console.error(`    ${contestant}: ${rows} rows for ${events} events, ${doubles} duplicates`);
  process.exitCode = 1;
}
