/** What is broken on purpose in a copy of src/, to see whether the fault suite notices (mutants.ts). */
export interface Patch {
  /** Below src/streamer. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** The kinds of faults under which it shows, by a part of their names; without it, all kinds are injected. */
  readonly kind?: string;
}

/** What is run of the copy, below src/streamer. */
export const ENTRY = 'commands/cli.ts';

export const MUTATIONS: readonly Mutation[] = [
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
        find: 'standbyStatus(flushLsn, ',
        replace: 'standbyStatus(flushLsn + 1, ',
      },
    ],
  },
  {
    name: 'no intent before the insert',
    patches: [
      {
        file: 'ledger/ledger.ts',
        find: 'pending: next });\n',
        replace: 'pending: undefined });\n    this.#state = { ...this.#state, pending: next };\n',
      },
      {
        file: 'ledger/ledger.ts',
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
        file: 'delivery/send.ts',
        find: '      token,\n      queryId',
        replace: '      token: `${token}/${performance.now()}`,\n      queryId',
      },
    ],
  },
  {
    name: 'the pending range is cut again after a restart',
    patches: [
      {
        file: 'session.ts',
        find: 'pending: ledger.state.pending,',
        replace: 'pending: undefined,',
      },
    ],
  },
  {
    name: 'delivered positions are not skipped',
    patches: [
      {
        file: 'batch/intake.ts',
        find: 'if (lsn < delivered.lsn || lsn >= ends || (lsn === delivered.lsn && seq <= delivered.seq)) {',
        replace: 'if (lsn < delivered.lsn - 2 ** 53) {',
      },
    ],
  },
  {
    name: 'a failed insert counts as delivered',
    patches: [
      {
        file: 'delivery/reliable-insert.ts',
        find: 'if (!this.#isLasting(error)) throw error;',
        replace: 'if (!this.#isLasting(error)) return undefined as never;',
      },
    ],
  },
  {
    name: 'any 200 counts as delivered',
    patches: [
      { file: 'clickhouse/client.ts', find: 'if (unexpected > 0)', replace: 'if (unexpected < 0)' },
      { file: 'clickhouse/client.ts', find: 'if (!(writtenRows >= insert.rows))', replace: 'if (writtenRows < -1)' },
    ],
  },
  {
    name: 'ClickHouse is not asked to recognise repetitions',
    patches: [
      {
        file: 'clickhouse/settings.ts',
        find: "deduplicate_insert: 'enable'",
        replace: "deduplicate_insert: 'disable'",
      },
      { file: 'clickhouse/settings.ts', find: 'insert_deduplicate: 1,', replace: 'insert_deduplicate: 0,' },
    ],
  },
  {
    name: 'views are not asked to recognise repetitions',
    patches: [
      {
        file: 'clickhouse/settings.ts',
        find: 'deduplicate_blocks_in_dependent_materialized_views: 1,',
        replace: 'deduplicate_blocks_in_dependent_materialized_views: 0,',
      },
    ],
  },
  {
    name: 'the ledger is written under any epoch',
    patches: [
      {
        file: 'ledger/ledger.ts',
        find: `        WHERE slot_name = $1 AND epoch = $2
          AND delivered_lsn = $13 AND delivered_seq = $14
          AND pending_lsn IS NOT DISTINCT FROM $15 AND pending_seq IS NOT DISTINCT FROM $16\``,
        replace:
          '        WHERE slot_name = $1 AND ($2::bigint, $13::pg_lsn, $14::bigint, $15::pg_lsn, $16::bigint) IS NOT NULL OR slot_name = $1`',
      },
    ],
  },
  {
    name: 'rows that a policy hides count as absent',
    kind: 'a row policy hides rows',
    patches: [
      {
        file: 'clickhouse/target.ts',
        find: '  await checkVisible(clickhouse, table, signal);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'settings that a proxy drops are not missed',
    kind: 'a proxy drops settings',
    patches: [
      { file: 'clickhouse/proven-settings.ts', find: 'if (problems.length > 0)', replace: 'if (problems.length < 0)' },
    ],
  },
  {
    name: 'what was sent without its settings is trusted',
    kind: 'a proxy drops settings',
    patches: [{ file: 'delivery/target-watch.ts', find: "  'OUTBOX_CH_SETTINGS_DROPPED',\n", replace: '' }],
  },
  {
    name: 'a profile may shorten what views get',
    kind: 'profile says otherwise',
    patches: [
      {
        file: 'clickhouse/settings.ts',
        find: '  ...WHOLE,\n  async_insert: 0,',
        replace: '  async_insert: 0,',
      },
    ],
  },
  {
    name: 'another table under the name is taken for the former one',
    kind: 'a filled copy takes the name of the table',
    patches: [
      {
        file: 'clickhouse/views.ts',
        find: 'const identity = [await identityOf(clickhouse, table, signal), ',
        replace: 'const identity = [',
      },
    ],
  },
  {
    name: 'another table under the name of a view’s is taken for the former one',
    kind: 'a filled copy takes the name of the table of a view',
    patches: [
      {
        file: 'clickhouse/views.ts',
        find: '        identities.add(await identityOf(clickhouse, found, signal));\n',
        replace: '        identities.add(name);\n',
      },
    ],
  },
  {
    name: 'a row is at fault although the table has taken no other',
    kind: 'refuses every row',
    patches: [
      {
        file: 'delivery/deliver.ts',
        find: 'if (mayCome && !isTaken) throw refusesAll(answer);',
        replace: 'if (!mayCome && !isTaken) throw refusesAll(answer);',
      },
    ],
  },
  {
    name: 'a view without a table to fill is taken for a missing target',
    kind: 'the table of a view is detached',
    patches: [
      { file: 'clickhouse/target.ts', find: 'if (target.broken.length === 0)', replace: 'if (target.views >= 0)' },
      { file: 'clickhouse/refusal.ts', find: 'if (number === 60 && ', replace: 'if (number === -60 && ' },
    ],
  },
  {
    name: 'a publication with another owner counts as changed',
    kind: 'the publication gets another owner',
    patches: [
      {
        file: 'source/publication.ts',
        find: 'return was[0] === is[0] && was[2] === is[2] && was[1] !== is[1];',
        replace: 'return false;',
      },
    ],
  },
];

/** The source with the patch applied. Throws when what it looks for does not stand there exactly once. */
export function patched(source: string, { file, find, replace }: Patch): string {
  const parts = source.split(find);
  if (parts.length !== 2)
    throw new Error(`the source has changed: ${file} holds ${parts.length - 1} times, not once: ${find}`);
  return parts.join(replace);
}
