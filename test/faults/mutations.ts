/**
 * Does the suite notice? For each mutation a copy of src/ is broken on purpose, run through the faults until a check complains,
 * and what complained is written to mutations.md. Exits 1 when a mutation survives, or when the unbroken copy does not.
 *
 *   npm run test:faults -- --mutations [--only text] [--seed N]
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './run.ts';
import type { RunResult } from './run.ts';

const ROOT = join(import.meta.dirname, '../..');
const RECORD = join(import.meta.dirname, 'mutations.md');
/** Twice every kind of fault, about. */
const FAULTS = 90;
const DRAIN_MS = 45_000;

interface Patch {
  /** Below src/streamer. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly find: string;
  readonly replace: string;
}

interface Mutation {
  readonly name: string;
  readonly patches: readonly Patch[];
}

const MUTATIONS: readonly Mutation[] = [
  {
    name: 'ack when received, not when settled',
    patches: [
      {
        file: 'batch/intake.ts',
        find: '  commit(endLsn: Lsn): void {\n',
        replace: '  commit(endLsn: Lsn): void {\n    this.#advance(endLsn);\n',
      },
    ],
  },
  {
    name: 'ack a byte too far',
    patches: [
      {
        file: 'source/replication.ts',
        find: 'standbyStatus(flushLsn, Math.max',
        replace: 'standbyStatus(flushLsn + 1, Math.max',
      },
    ],
  },
  {
    name: 'no intent before the insert',
    patches: [
      {
        file: 'delivery/ledger.ts',
        find: 'pending: next });\n',
        replace: 'pending: undefined });\n    this.#state = { ...this.#state, pending: next };\n',
      },
      {
        file: 'delivery/ledger.ts',
        find: 'const was = this.#state;',
        replace: 'const was = { ...this.#state, pending: undefined } as LedgerState;',
      },
    ],
  },
  {
    name: 'the intent is not durable',
    patches: [{ file: 'session.ts', find: "synchronous_commit: 'on'", replace: "synchronous_commit: 'off'" }],
  },
  {
    name: 'a new token for each attempt',
    patches: [
      {
        file: 'delivery/deliver.ts',
        find: '            token,\n            queryId',
        replace: '            token: `${token}/${performance.now()}`,\n            queryId',
      },
    ],
  },
  {
    name: 'the pending range is cut anew after a restart',
    patches: [
      {
        file: 'session.ts',
        find: '      pending,\n      onProgress',
        replace: '      pending: undefined,\n      onProgress',
      },
    ],
  },
  {
    name: 'delivered positions are not skipped',
    patches: [
      {
        file: 'batch/intake.ts',
        find: 'if (lsn < delivered.lsn || (lsn === delivered.lsn && seq <= delivered.seq)) {',
        replace: 'if (lsn < delivered.lsn - 2 ** 53) {',
      },
    ],
  },
  {
    name: 'a failed insert counts as delivered',
    patches: [
      {
        file: 'delivery/deliver.ts',
        find: 'if (!isFinal) throw error;',
        replace: 'if (!isFinal) return;',
      },
    ],
  },
  {
    name: 'any 200 counts as delivered',
    patches: [
      { file: 'delivery/clickhouse.ts', find: 'if (unexpected > 0)', replace: 'if (unexpected < 0)' },
      { file: 'delivery/clickhouse.ts', find: 'if (!(written >= insert.rows))', replace: 'if (written < -1)' },
    ],
  },
  {
    name: 'ClickHouse is not asked to recognise repetitions',
    patches: [
      {
        file: 'delivery/clickhouse.ts',
        find: "deduplicate_insert: 'enable'",
        replace: "deduplicate_insert: 'disable'",
      },
      { file: 'delivery/clickhouse.ts', find: 'insert_deduplicate: 1,', replace: 'insert_deduplicate: 0,' },
    ],
  },
  {
    name: 'views are not asked to recognise repetitions',
    patches: [
      {
        file: 'delivery/clickhouse.ts',
        find: 'deduplicate_blocks_in_dependent_materialized_views: 1,',
        replace: 'deduplicate_blocks_in_dependent_materialized_views: 0,',
      },
    ],
  },
  {
    name: 'the ledger is written under any epoch',
    patches: [
      {
        file: 'delivery/ledger.ts',
        find: `        WHERE slot_name = $1 AND epoch = $2
          AND delivered_lsn = $12 AND delivered_seq = $13
          AND pending_lsn IS NOT DISTINCT FROM $14 AND pending_seq IS NOT DISTINCT FROM $15\``,
        replace:
          '        WHERE slot_name = $1 AND ($2::bigint, $12::pg_lsn, $13::bigint, $14::pg_lsn, $15::bigint) IS NOT NULL OR slot_name = $1`',
      },
    ],
  },
];

/** Runs what `only` names; returns whether the suite noticed every mutation, and nothing where there is none. */
export async function runMutations(seed: number, only: string): Promise<boolean> {
  const rows: string[] = [];
  let isSound = true;
  for (const mutation of [{ name: 'none', patches: [] }, ...MUTATIONS]) {
    if (!mutation.name.includes(only)) continue;
    const result = await runMutated(mutation, seed);
    const isCaught = result.violations.length > 0;
    isSound &&= isCaught === mutation.patches.length > 0;
    const files = [...new Set(mutation.patches.map(({ file }) => `\`${file}\``))].join(', ');
    const verdict = isCaught
      ? brief(result.violations[0]!)
      : mutation.patches.length > 0
        ? '**not noticed**'
        : 'nothing, as it should be';
    rows.push(`| ${mutation.name} | ${files} | ${result.faults} | ${verdict} |`);
    console.log(rows.at(-1));
  }
  if (only === '') await writeFile(RECORD, page(seed, rows));
  return isSound;
}

async function runMutated({ patches }: Mutation, seed: number): Promise<RunResult> {
  const folder = await mkdtemp(join(tmpdir(), 'outbox-mutation-'));
  try {
    await cp(join(ROOT, 'src'), join(folder, 'src'), { recursive: true });
    await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const streamer = join(folder, 'src/streamer');
    for (const patch of patches) await apply(streamer, patch);
    const cli = join(streamer, 'cli.ts');
    return await run({ seed, faults: FAULTS, minutes: Infinity, hasty: true, drainMs: DRAIN_MS, cli });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function apply(folder: string, { file, find, replace }: Patch): Promise<void> {
  const path = join(folder, file);
  const parts = (await readFile(path, 'utf8')).split(find);
  if (parts.length !== 2)
    throw new Error(`the source has changed: ${file} holds ${parts.length - 1} times, not once: ${find}`);
  await writeFile(path, parts.join(replace));
}

function brief(violation: string): string {
  const [line = ''] = violation.split('\n');
  return (line.length > 160 ? `${line.slice(0, 160)} …` : line).replaceAll('|', '\\|');
}

function page(seed: number, rows: readonly string[]): string {
  return `<!-- Written by \`npm run test:faults -- --mutations\`. -->

# What the fault suite notices

Each row is the streamer with one thing broken on purpose (\`mutations.ts\`), under the same faults (\`--seed ${seed}\`), until a
check complained or ${FAULTS} faults were over and everything was compared. No mutation may pass, and the streamer as it is must.

| mutation | in src/streamer | faults | noticed first |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}
