import { parseArgs } from 'node:util';
import { explore } from './explore.ts';
import { Protocol } from './protocol.ts';
import { BREAKS } from './rules.ts';
import { LARGE, SMALL } from './scenarios.ts';

/** More states than this do not fit into the memory of a small machine. */
const MAX_STATES = 4_000_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { trace: { type: 'boolean', short: 't' }, full: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
});

if (values.help === true) {
  console.log(
    'npm run model [-- [name …] [-t] [--full]]   -t prints the steps to what is wrong; --full adds larger worlds',
  );
  process.exit();
}

const all = values.full === true ? [...SMALL, ...LARGE] : SMALL;
const chosen = positionals.length === 0 ? all : [...SMALL, ...LARGE].filter(({ name }) => positionals.includes(name));
if (chosen.length === 0) {
  console.error(`no such scenario; there are:\n${[...SMALL, ...LARGE].map(({ name }) => `  ${name}`).join('\n')}`);
  process.exit(1);
}
const width = Math.max(...chosen.map(({ name }) => name.length));
for (const { name, plan, expected } of chosen) {
  const began = performance.now();
  const { outcome, states, violation, trace } = explore(new Protocol(plan), MAX_STATES);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const isExpected = outcome === expected;
  if (!isExpected) process.exitCode = 1;
  const said = isExpected ? outcome : `${outcome}, EXPECTED ${expected}`;
  console.log(
    `${name.padEnd(width)}  ${said.padEnd(12)} ${String(states).padStart(8)} states ${seconds.padStart(6)} s`,
  );
  if (violation === undefined || (values.trace !== true && isExpected)) continue;
  for (const rule of plan.broken ?? []) console.log(`    broken: ${BREAKS[rule]}`);
  for (const [index, step] of trace.entries()) console.log(`    ${String(index + 1).padStart(3)}  ${step}`);
  console.log(`         → ${violation}`);
}
