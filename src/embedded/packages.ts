import { createRequire } from 'node:module';
import { OutboxError } from '../errors.ts';

const { resolve } = createRequire(import.meta.url);

/** The path of a package, or of an entry of it, that users install themselves. Throws OUTBOX_EMBEDDED_MISSING. */
export function resolvePackage(name: string): string {
  try {
    return resolve(name);
  } catch (cause) {
    throw new OutboxError('OUTBOX_EMBEDDED_MISSING', { detail: `The package ${name} cannot be found.`, cause });
  }
}
