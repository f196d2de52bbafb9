/**
 * Fetches what the packages are tested with beside this Node: other versions of it, Bun, Deno, an older compiler. Out of npm
 * packages; prints the paths: `OUTBOX_TEST_NODES=$(npm run --silent nodes -- 22.15.0 bun@1.4.5 typescript@5.9.3) npm test`.
 */
import { delimiter, join } from 'node:path';
import { fetchPackage } from './npm-pack.ts';

const PLATFORM = `${process.platform}-${process.arch}`;
/** The package that holds the program, and where it is in there. */
const PROGRAMS: Readonly<Record<string, readonly [name: string, file: string]>> = {
  node: [`node-${PLATFORM}`, 'bin/node'],
  bun: [`@oven/bun-${PLATFORM}`, 'bin/bun'],
  deno: [`@deno/${PLATFORM}${process.platform === 'linux' ? '-glibc' : ''}`, 'deno'],
  typescript: ['typescript', 'bin/tsc'],
};

function fetchProgram(wanted: string): string {
  const [name, version] = wanted.includes('@') ? (wanted.split('@') as [string, string]) : ['node', wanted];
  const [container, file] = PROGRAMS[name] ?? [];
  if (container === undefined || file === undefined)
    throw new Error(`${wanted} is none of ${Object.keys(PROGRAMS).join(', ')}`);
  const files = name === 'typescript' ? ['package'] : [`package/${file}`];
  return join(fetchPackage(container, version, files), file);
}

console.log(process.argv.slice(2).map(fetchProgram).join(delimiter));
