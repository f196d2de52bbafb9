import { Kysely, PostgresDialect } from 'kysely';
import { Pool } from 'pg';
import { emitEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const pool = new Pool({ connectionString: process.env['DATABASE_URL'] });
  const db = new Kysely<object>({ dialect: new PostgresDialect({ pool }) });
  const id = await db
    .transaction()
    .execute((trx) => emitEvent(trx, { type: 'project.ran', context: { client: 'kysely' } }));
  await db.destroy();
  console.log(id);
}

void main();
