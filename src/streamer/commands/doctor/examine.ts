import type { Config } from '../../config.ts';
import { examineClickHouse } from './clickhouse.ts';
import { findingFor, withoutExplained, type Finding } from './finding.ts';
import { examineCollector } from './host.ts';
import { inOrder } from './order.ts';
import { examinePostgres } from './postgres.ts';

/** The document of `doctor --json`. */
export interface Examination {
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
}

/** All checks of both databases and the host, the worst first. Never throws for what the databases say. */
export async function examine(config: Config, env: NodeJS.ProcessEnv, onWaking: () => void): Promise<Examination> {
  const examined = await Promise.all([
    examinePostgres(config),
    examineClickHouse(config, onWaking),
    examineCollector(env),
  ]);
  const found = withoutExplained(examined.flat()).map((finding) => findingFor(config.schema, finding));
  const findings = inOrder(found);
  const errors = findings.filter(({ level }) => level === 'error').length;
  const warnings = findings.filter(({ level }) => level === 'warning').length;
  return { errors, warnings, findings };
}
