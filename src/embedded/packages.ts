import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { OutboxError } from '../errors.ts';

const { resolve } = createRequire(import.meta.url);

/** The path of a package, or of an entry of it, that users install themselves. Throws OUTBOX_EMBEDDED_MISSING. */
export function resolvePackage(name: string): string {
  try {
    return resolve(name);
  } catch (cause) {
    const [container] = /^(?:@[^/]+\/)?[^/]+/.exec(name) ?? [name];
    throw new OutboxError('OUTBOX_EMBEDDED_MISSING', { detail: `The package ${container} cannot be found.`, cause });
  }
}

/** node-postgres: that of the streamer, so that an application with another client need not install it. Else the application's. */
export async function importPg(): Promise<typeof import('pg')> {
  const { default: pg } = (await import(pathToFileURL(resolvePg()).href)) as { default: typeof import('pg') };
  return pg;
}

/** Throws OUTBOX_EMBEDDED_MISSING. */
export function resolvePg(): string {
  try {
    return createRequire(resolve('pg-outbox-clickhouse-streamer/package.json')).resolve('pg');
  } catch {
    return resolvePackage('pg');
  }
}
