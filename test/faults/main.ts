/**
 * The proof of exactly-once: real faults, at random but reproducible moments, and an oracle of its own.
 *
 *   npm run test:faults -- [--seed N] [--faults 60] [--minutes M] [--only text …] [--adopted] [--mutations]
 */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMutations } from './mutants.ts';
import { run, type RunResult } from './run.ts';

/** Without arguments: a little more than three minutes, and never more than CI has. */
const FAULTS = 95;
const MINUTES = 4.25;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    faults: { type: 'string' },
    minutes: { type: 'string' },
    only: { type: 'string', multiple: true, default: [''] },
    adopted: { type: 'boolean', default: false },
    mutations: { type: 'boolean', default: false },
  },
});

const { only } = values;
if (values.mutations) process.exit((await runMutations(Number(values.seed ?? 1), only)) ? 0 : 1);

const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
const hasLimit = values.faults !== undefined || values.minutes !== undefined;
console.log(`seed ${seed}`);
const result = await run({
  seed,
  faults: Number(values.faults ?? (hasLimit ? Infinity : FAULTS)),
  minutes: Number(values.minutes ?? (hasLimit ? Infinity : MINUTES)),
  isAdopted: values.adopted,
  only: ({ name }) => only.some((text) => name.includes(text)),
  report: (line) => console.log(line),
});
print(result);
if (result.violations.length > 0) {
  const folder = await mkdtemp(join(tmpdir(), 'outbox-faults-'));
  for (const [name, text] of result.logs) await writeFile(join(folder, name), text);
  console.error(`\nFAILED with --seed ${seed}; logs in ${folder}`);
  for (const violation of result.violations) console.error(`\n- ${violation}`);
}
process.exit(result.violations.length > 0 ? 1 : 0);

function print(figures: RunResult): void {
  const { kinds, committed, rolledBack } = figures;
  const width = Math.max(...[...kinds.keys()].map((name) => name.length));
  console.log(`\n${'fault'.padEnd(width)}  injected  missed`);
  for (const [name, { injected, missed }] of [...kinds].toSorted(([a], [b]) => a.localeCompare(b)))
    console.log(`${name.padEnd(width)}  ${String(injected).padStart(8)}  ${String(missed).padStart(6)}`);
  const n = (value: number): string => value.toLocaleString('en-US');
  console.log(`
seed ${figures.seed}: ${figures.faults} faults in ${figures.seconds.toFixed(0)} s; ${figures.streamers} streamers, ${n(figures.inserts)} inserts
committed    ${n(committed.events)} events in ${n(committed.transactions)} transactions, ${figures.unknown} of them or of the next without an answer
rolled back  ${n(rolledBack.events)} events in ${n(rolledBack.transactions)} transactions
delivered    ${n(figures.rows)} rows, drained in ${figures.drainSeconds.toFixed(1)} s
looked at    ${n(figures.looks)} times while the faults ran
violations   ${figures.violations.length}`);
}
