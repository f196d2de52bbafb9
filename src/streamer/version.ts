import { readFileSync } from 'node:fs';

/** The version of the package that this is part of. */
export const VERSION = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
