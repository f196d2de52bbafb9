import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OutboxError } from '../../errors.ts';

type Env = NodeJS.ProcessEnv;

/** `pg-outbox-clickhouse dev`, which is in the library: its embedded services are no part of the streamer. Returns the exit code. */
export async function devCommand(args: string[], env: Env): Promise<number> {
  const { dev } = (await import(pathToFileURL(findDev()).href)) as {
    dev: (args: string[], env: Env) => Promise<number>;
  };
  return dev(args, env);
}

/** Beside this source, or in the library that the application in the working directory has installed, or whoever installed us. */
function findDev(): string {
  const source = join(import.meta.dirname, '../../embedded/dev.ts');
  if (existsSync(source)) return source;
  for (const from of [join(process.cwd(), 'package.json'), import.meta.filename]) {
    try {
      const manifest = createRequire(from).resolve('pg-outbox-clickhouse/package.json');
      return join(dirname(manifest), 'dist/embedded/dev.js');
    } catch {
      // not from there
    }
  }
  throw new OutboxError('OUTBOX_PROGRAM_INCOMPLETE', {
    detail: '`dev` is in the package pg-outbox-clickhouse, which is not installed here.',
  });
}
