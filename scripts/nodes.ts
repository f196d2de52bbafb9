/**
 * Fetches Node's binaries of other versions, which the packages are tested on, out of npm packages, and prints their paths:
 * `OUTBOX_TEST_NODES=$(npm run --silent nodes -- 22.15.0 26.10.0) npm test`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const CACHE = join(import.meta.dirname, '../node_modules/.cache/nodes');

function fetchNode(version: string): string {
  const directory = join(CACHE, version);
  const node = join(directory, 'bin/node');
  if (existsSync(node)) return node;
  mkdirSync(CACHE, { recursive: true });
  // under another name until it is complete
  const unfinished = mkdtempSync(`${directory}-`);
  try {
    execFileSync('npm', ['pack', '--silent', `node-${process.platform}-${process.arch}@${version}`], {
      cwd: unfinished,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [tarball = ''] = readdirSync(unfinished);
    execFileSync('tar', ['-xzf', tarball, '--strip-components=1', 'package/bin/node'], { cwd: unfinished });
    rmSync(join(unfinished, tarball));
    renameSync(unfinished, directory);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return node;
}

console.log(process.argv.slice(2).map(fetchNode).join(delimiter));
