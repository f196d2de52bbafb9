import { ERRORS, isPrivilege, OutboxError, summaryOf } from '../../../errors.ts';
import { oneLine } from '../../../one-line.ts';
import { toldOf } from '../../../schema-name.ts';
import { isLocked } from '../../source/table-locks.ts';

/** `error`: events do not flow, or may be lost or doubled. `warning`: they flow, but not as they should, or not for long. */
export type Level = 'ok' | 'warning' | 'error';

/**
 * One statement or command, as it can be pasted. Those of Postgres want an administrator, outside a transaction block. What only the web
 * console of a managed service can do is said in words.
 */
export interface Fix {
  readonly in: 'postgres' | 'clickhouse' | 'shell' | 'console';
  readonly run: string;
}

/** Under this id: what ClickHouse has refused, in the words of the streamer. */
export const INSERTS = 'clickhouse.inserts';

/** Under this id: who keeps others from a table of the outbox. */
export const LOCKS = 'postgres.locks';

/** What one check found. */
export interface Finding {
  /** Stable, such as `postgres.wal_level`. */
  readonly id: string;
  readonly level: Level;
  /** What is there; no payload, password or URL. */
  readonly found: string;
  /** Why it matters; not of what is in order. */
  readonly why?: string;
  /** In this order. Empty where nobody but the operator can know what is right. */
  readonly fix: readonly Fix[];
}

/** Examines one thing. What it throws becomes a finding under its id. */
export interface Check<Context> {
  readonly id: string;
  readonly examine: (context: Context) => Promise<Finding[]>;
}

export function ok(id: string, found: string): Finding {
  return { id, level: 'ok', found: oneLine(found), fix: [] };
}

export function bad(level: 'warning' | 'error', id: string, found: string, why: string, ...fix: Fix[]): Finding {
  return { id, level, found: oneLine(found), why: oneLine(why), fix };
}

/** A statement for Postgres. */
export const sql = (run: string): Fix => fixIn('postgres', run);
/** A statement for ClickHouse. */
export const query = (run: string): Fix => fixIn('clickhouse', run);
export const shell = (run: string): Fix => fixIn('shell', run);
/** What to do in the console of the service that runs Postgres. */
export const webConsole = (run: string): Fix => fixIn('console', run);

/** A name with a line break in it would look like the next statement. */
function fixIn(place: Fix['in'], run: string): Fix {
  const comment = place === 'shell' ? '#' : '--';
  return { in: place, run: run === oneLine(run) ? run : `${comment} by hand, because of the name: ${oneLine(run)}` };
}
/** A command of this program. */
export const command = (args: string): Fix => shell(`pg-outbox-clickhouse ${args}`);

/** An error as a finding. Throws what is not an OutboxError. */
export function findingOf(id: string, error: unknown, ...fix: Fix[]): Finding {
  if (!(error instanceof OutboxError)) throw error;
  // its problems stand on lines of their own
  return { ...bad('error', id, '', error.next, ...fix), found: `${error.code}: ${error.message}` };
}

/** Without what the streamer wrote down of a refusal, where a check has found why ClickHouse takes nothing. */
export function withoutExplained(findings: readonly Finding[]): Finding[] {
  const isWrong = ({ id, level }: Finding): boolean =>
    level === 'error' && id.startsWith('clickhouse.') && id !== INSERTS;
  return findings.some(isWrong) ? findings.filter(({ id }) => id !== INSERTS) : [...findings];
}

/** A check that meets what it does not expect ends alone. */
function failed(id: string, error: unknown): Finding {
  if (error instanceof OutboxError) return findingOf(id, error);
  return bad(
    'error',
    id,
    `the check failed: ${String(error)}`,
    'What it looks at is not known. Please report it, with --json.',
  );
}

/** A finding as it is told of an outbox in this schema: what is constant in it names the default one. */
export function findingFor(schema: string, finding: Finding): Finding {
  const { found, why } = finding;
  const [code = ''] = found.split(':', 1);
  const happened = Object.hasOwn(ERRORS, code) ? ERRORS[code as keyof typeof ERRORS].happened : found;
  return {
    ...finding,
    found: found.startsWith(`${code}: ${happened}`) ? found.replace(happened, () => toldOf(schema, happened)) : found,
    ...(why === undefined ? {} : { why: toldOf(schema, why) }),
  };
}

/** What this role may not see is said, and not guessed. */
function unseen(id: string, error: unknown): Finding | undefined {
  if (isLocked(error)) return bad('warning', id, 'cannot be checked: a table is locked', `See ${LOCKS}.`);
  if (!(error instanceof OutboxError) || !isPrivilege(error.code)) return undefined;
  return bad(
    'warning',
    id,
    `cannot be checked: ${summaryOf(error)}`,
    'What this role may not see may be out of order.',
  );
}

/** One check after the other: what one of them throws does not keep the next from being made. */
export async function runChecks<Context>(checks: readonly Check<Context>[], context: Context): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { id, examine } of checks) {
    try {
      findings.push(...(await examine(context)));
    } catch (error) {
      findings.push(unseen(id, error) ?? failed(id, error));
    }
  }
  return findings;
}
