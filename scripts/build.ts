/**
 * Builds both packages out of src/: the library here, the streamer in packages/streamer. From nothing, because a file that
 * was renamed must not live on in a package. No source maps: the JavaScript is the source without its types.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buildPage } from './page.ts';

const ROOT = join(import.meta.dirname, '..');
const STREAMER = join(ROOT, 'packages/streamer');
/** What npm links. */
const PROGRAMS = [join(ROOT, 'dist/embedded/program.js'), join(STREAMER, 'dist/streamer/commands/cli.js')];
/** What `migrate` reads, and roles.sql; the snapshots beside it are drizzle-kit's. */
const MIGRATIONS = ['migrations/**/*.sql', 'migrations/postgres/meta/_journal.json'];

for (const built of [join(ROOT, 'dist'), join(STREAMER, 'dist'), join(STREAMER, 'migrations')])
  rmSync(built, { recursive: true, force: true });

compile('-p', 'tsconfig.build.json');
compile('-p', 'packages/streamer/tsconfig.json');
await buildPage(join(STREAMER, 'dist/console'));

// drizzle has types of its own for CommonJS, which do not fit those for ES modules: a table has to be of the caller's kind
const SCHEMA = 'dist/app/schema.cts';
copyFileSync(join(ROOT, 'src/app/schema.ts'), join(ROOT, SCHEMA));
compile(
  SCHEMA,
  '--ignoreConfig',
  '--module',
  'nodenext',
  '--target',
  'es2024',
  '--declaration',
  '--skipLibCheck',
  '--strict',
);
rmSync(join(ROOT, SCHEMA));

for (const program of PROGRAMS) {
  if (!readFileSync(program, 'utf8').startsWith('#!'))
    throw new Error(`the source of ${program} must begin with #!/usr/bin/env node`);
  chmodSync(program, 0o755);
}

for (const file of globSync(MIGRATIONS, { cwd: ROOT })) {
  mkdirSync(dirname(join(STREAMER, file)), { recursive: true });
  copyFileSync(join(ROOT, file), join(STREAMER, file));
}
copyFileSync(join(ROOT, 'LICENSE'), join(STREAMER, 'LICENSE'));

function compile(...args: string[]): void {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const { status, error } = spawnSync(process.execPath, [tsc, ...args], { cwd: ROOT, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
