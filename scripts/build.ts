/** Builds dist/ from nothing: a file that was renamed in src/ must not live on in the package. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const CLI = join(ROOT, 'dist/streamer/cli.js');

rmSync(join(ROOT, 'dist'), { recursive: true, force: true });

const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
const { status, error } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: ROOT,
  stdio: 'inherit',
});
if (error) throw error;
if (status !== 0) process.exit(status ?? 1);

if (existsSync(CLI)) {
  // a line put in here would shift every position of the source map, so the source has to bring it
  if (!readFileSync(CLI, 'utf8').startsWith('#!'))
    throw new Error('src/streamer/cli.ts must begin with #!/usr/bin/env node');
  chmodSync(CLI, 0o755);
}
