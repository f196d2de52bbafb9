import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');
const SCHEMAS = ['test/clients', 'test/package/projects/prisma', 'examples/prisma'].map((folder) =>
  join(ROOT, folder, 'schema.prisma'),
);

/** Generates Prisma's client beside each schema, which types and tests need, when it is missing or older than the schema. */
export default async function generate(): Promise<void> {
  for (const schema of SCHEMAS) await generateClient(schema);
}

async function generateClient(schema: string): Promise<void> {
  const client = join(dirname(schema), 'generated', 'client.ts');
  const [source, generated] = await Promise.all([stat(schema), stat(client).catch(() => undefined)]);
  if (generated !== undefined && generated.mtimeMs >= source.mtimeMs) return;
  // Nothing uses the engine for migrations. Without a path Prisma would download it.
  const env = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath, CHECKPOINT_DISABLE: '1' };
  await promisify(execFile)(join(ROOT, 'node_modules/.bin/prisma'), ['generate', '--schema', schema], { env });
}

if (import.meta.main) await generate();
