import { readConfig } from '../../src/streamer/config.ts';
import { examineClickHouse } from '../../src/streamer/commands/doctor/clickhouse.ts';
import { withoutExplained, type Finding, type Fix } from '../../src/streamer/commands/doctor/finding.ts';
import { examinePostgres } from '../../src/streamer/commands/doctor/postgres.ts';
import { command } from './command.ts';
import type { Outbox } from './outbox.ts';

/** A repair waits for inserts that may be under way. */
const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
/** How full this machine's disk is, is not the outbox's matter. */
const ELSEWHERE = ['clickhouse.disk'];

/** What `doctor` finds that is not in order. */
export async function examine(environment: Record<string, string>): Promise<Finding[]> {
  const config = readConfig(environment);
  const findings = (await Promise.all([examinePostgres(config), examineClickHouse(config)])).flat();
  return withoutExplained(findings).filter(({ id, level }) => level !== 'ok' && !ELSEWHERE.includes(id));
}

export function findingOf(findings: Finding[], id: string): Finding | undefined {
  return findings.find((one) => one.id === id);
}

/** Applies a fix as an administrator would paste it. */
export async function apply({ in: where, run }: Fix, outbox: Outbox): Promise<void> {
  if (where === 'postgres') await outbox.postgres.query(run);
  else if (where === 'clickhouse') await outbox.clickhouse.command({ query: run });
  else {
    const args = run.replace(/^pg-outbox-clickhouse /, '').split(' ');
    const { code, stderr } = await command(outbox, args, QUICK).done;
    if (code !== 0) throw new Error(`${run}: ${stderr}`);
  }
}
