import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { say } from './terminal.ts';

type Parsed<O extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{
    readonly args: string[];
    readonly options: O;
    readonly allowPositionals: true;
    readonly strict: true;
  }>
>;

/**
 * The arguments of a command, or its exit code after `--help` or a mistake, which is named on stderr. `help` is shown for the one, and
 * pointed to for the other.
 *
 * @param check names what is wrong with arguments that could be read
 */
export function parseUsage<const O extends ParseArgsOptionsConfig>(
  args: string[],
  { options, help, check }: { options: O; help: string; check?: (parsed: Parsed<O>) => string | undefined },
): Parsed<O> | number {
  if (args.includes('--help') || args.includes('-h')) {
    say(help);
    return 0;
  }
  let problem: string | undefined;
  try {
    const config = { args, options, allowPositionals: true, strict: true } as const;
    const parsed = parseArgs<typeof config>(config);
    problem = check === undefined ? refusePositionals(parsed) : check(parsed);
    if (problem === undefined) return parsed;
  } catch (error) {
    problem = error instanceof Error ? error.message : 'unusable arguments';
  }
  say(`${problem}\n\n${help}`, process.stderr);
  return 2;
}

/** For commands that take options alone. */
export function refusePositionals({ positionals }: { positionals: string[] }): string | undefined {
  return positionals.length === 0 ? undefined : `Unexpected argument ${JSON.stringify(positionals[0])}`;
}
