import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SCHEMA = join(import.meta.dirname, 'schema.prisma');
const GENERATED = join(import.meta.dirname, 'generated', 'client.ts');

/** Prisma's client of the schema beside this file, which types and tests need: made where it is missing or older. */
export default async function generate(): Promise<void> {
  const [schema, generated] = await Promise.all([stat(SCHEMA), stat(GENERATED).catch(() => undefined)]);
  if (generated !== undefined && generated.mtimeMs >= schema.mtimeMs) return;
  // The engine for migrations is not used; without a path it would be downloaded.
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' };
  const cli = join(import.meta.dirname, '../../node_modules/.bin/prisma');
  await promisify(execFile)(cli, ['generate', '--schema', SCHEMA], { env });
}

if (import.meta.main) await generate();
