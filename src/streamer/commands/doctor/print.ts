import { columnsOf, fold, paint } from '../terminal.ts';
import type { Finding, Fix, Level } from './finding.ts';

const COLOURS = { ok: 'green', warning: 'yellow', error: 'red' } as const satisfies Record<Level, string>;
const WHERE = {
  postgres: 'in Postgres',
  clickhouse: 'in ClickHouse',
  shell: 'in a shell',
  console: 'in the service’s console',
} as const;

/** The findings for people, in their order; what is in order only when `all` is asked for. */
export function printFindings(findings: readonly Finding[], all: boolean): string {
  const shown = findings.filter(({ level }) => all || level !== 'ok');
  return `${[...shown.map(printFinding), summary(findings)].join('\n')}\n`;
}

function printFinding({ id, level, found, why, fix }: Finding): string {
  const head = `${paint(COLOURS[level], level.padEnd(7))}  ${paint('bold', id)}  ${indented(found)}`;
  const said = level === 'ok' || why === undefined ? head : `${head}\n         ${indented(why)}`;
  const folded = fold(said, columnsOf(process.stdout));
  return level === 'ok' ? folded : `${[folded, ...printFixes(fix)].join('\n')}\n`;
}

/** Successive ones for the same place stand under one heading. */
function printFixes(fixes: readonly Fix[]): string[] {
  return fixes.flatMap((fix, index) => {
    const isSame = fixes[index - 1]?.in === fix.in;
    const run = `           ${fix.run}${fix.in === 'shell' || fix.in === 'console' ? '' : ';'}`;
    // a fix is copied as it stands: a terminal breaks it without a line break in it
    const line = fix.in === 'console' ? fold(run, columnsOf(process.stdout)) : run;
    return isSame ? [line] : [`         Fix, ${WHERE[fix.in]}:`, line];
  });
}

function indented(text: string): string {
  return text.replaceAll('\n', '\n         ');
}

function summary(findings: readonly Finding[]): string {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  const [errors, warnings, fine] = [count('error'), count('warning'), count('ok')];
  const text = `${errors} ${errors === 1 ? 'error' : 'errors'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}, ${fine} in order`;
  return paint(errors > 0 ? 'red' : warnings > 0 ? 'yellow' : 'green', text);
}
