import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const CACHE = join(import.meta.dirname, '../node_modules/.cache');

/** Fetches a package out of npm, or some files of it, once, and returns its directory. Nothing of it is installed. */
export function fetchPackage(name: string, version: string, files: readonly string[] = ['package']): string {
  const directory = join(CACHE, name.replaceAll('/', '-'), version);
  if (existsSync(directory)) return directory;
  mkdirSync(join(directory, '..'), { recursive: true });
  // under another name until it is complete
  const unfinished = mkdtempSync(`${directory}-`);
  try {
    execFileSync('npm', ['pack', '--silent', `${name}@${version}`], {
      cwd: unfinished,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [tarball = ''] = readdirSync(unfinished);
    execFileSync('tar', ['-xzf', tarball, '--strip-components=1', ...files], { cwd: unfinished });
    rmSync(join(unfinished, tarball));
    // servers run under an account of their own
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, directory);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return directory;
}
