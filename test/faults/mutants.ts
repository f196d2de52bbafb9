/**
 * Does the suite notice? For each mutation a copy of src/ is broken on purpose, run through the faults until a check complains,
 * and what complained is written to mutations.md. Exits 1 when a mutation survives, or when the unbroken copy does not.
 *
 *   npm run test:faults -- --mutations [--only text] [--seed N]
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ENTRY, MUTATIONS, patched, type Mutation } from './mutations.ts';
import { run, type RunResult } from './run.ts';

const ROOT = join(import.meta.dirname, '../..');
const RECORD = join(import.meta.dirname, 'mutations.md');
/** Every kind of fault, and some of them twice. */
const FAULTS = 90;
/** Of a mutation that shows under one kind of fault. */
const FAULTS_OF_KIND = 6;
const DRAIN_MS = 45_000;

/** Runs what `only` names; returns whether the suite noticed every mutation, and nothing where there is none. */
export async function runMutations(seed: number, only: readonly string[]): Promise<boolean> {
  const rows: string[] = [];
  let isSound = true;
  for (const mutation of [{ name: 'none', patches: [] }, ...MUTATIONS]) {
    if (!only.some((text) => mutation.name.includes(text))) continue;
    const result = await runMutated(mutation, seed);
    const isCaught = result.violations.length > 0;
    isSound &&= isCaught === mutation.patches.length > 0;
    const files = [...new Set(mutation.patches.map(({ file }) => `\`${file}\``))].join(', ');
    const verdict = isCaught
      ? brief(result.violations[0]!)
      : mutation.patches.length > 0
        ? '**not noticed**'
        : 'nothing, as it should be';
    const faults = mutation.kind === undefined ? result.faults : `${result.faults} of “${mutation.kind}”`;
    rows.push(`| ${mutation.name} | ${files} | ${faults} | ${verdict} |`);
    console.log(rows.at(-1));
  }
  if (only.includes('')) await writeFile(RECORD, page(seed, rows));
  return isSound;
}

async function runMutated({ patches, kind = '' }: Mutation, seed: number): Promise<RunResult> {
  const folder = await mkdtemp(join(tmpdir(), 'outbox-mutation-'));
  try {
    await cp(join(ROOT, 'src'), join(folder, 'src'), { recursive: true });
    await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const streamer = join(folder, 'src/streamer');
    for (const patch of patches) {
      const path = join(streamer, patch.file);
      await writeFile(path, patched(await readFile(path, 'utf8'), patch));
    }
    const cli = join(streamer, ENTRY);
    return await run({
      seed,
      faults: kind === '' ? FAULTS : FAULTS_OF_KIND,
      minutes: Infinity,
      hasty: true,
      drainMs: DRAIN_MS,
      cli,
      only: ({ name }) => name.includes(kind),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function brief(violation: string): string {
  const [line = ''] = violation.split('\n');
  return (line.length > 160 ? `${line.slice(0, 160)} …` : line).replaceAll('|', '\\|');
}

function page(seed: number, rows: readonly string[]): string {
  return `<!-- Written by \`npm run test:faults -- --mutations\`. -->

# What the fault suite notices

Each row is the streamer with one thing broken on purpose (\`mutations.ts\`), under the same faults (\`--seed ${seed}\`), until a
check complained or ${FAULTS} faults were over and everything was compared. Where a kind of fault is named, ${FAULTS_OF_KIND} of that kind
alone were injected. No mutation may pass, and the streamer as it is must.

| mutation | in src/streamer | faults | noticed first |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}
