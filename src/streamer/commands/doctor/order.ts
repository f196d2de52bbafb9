import type { Finding, Level } from './finding.ts';

const LEVELS: readonly Level[] = ['error', 'warning', 'ok'];

/**
 * Commands of this program, in the order in which they succeed: `migrate` wants servers and privileges, `repair` wants both schemas, a
 * streamer wants a stream without a gap, and retention removes what a streamer has delivered.
 */
const COMMANDS = ['migrate', 'reshard', 'repair', 'run', 'quarantine', 'retention'];

/** The worst first; among equals those whose fixes the fixes of others need. */
export function inOrder(findings: readonly Finding[]): Finding[] {
  return findings.toSorted(
    (one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level) || stageOf(one) - stageOf(other),
  );
}

/** Of the last command that a finding's fix needs; statements alone come before all commands. */
function stageOf({ fix }: Finding): number {
  return Math.max(
    -1,
    ...fix.map(({ run }) => COMMANDS.indexOf(/^pg-outbox-clickhouse (\w+)/.exec(run)?.[1] ?? 'none of them')),
  );
}
