import createKnex from 'knex';
import { emitEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const db = createKnex({ client: 'pg', connection: process.env['DATABASE_URL']! });
  const id = await db.transaction((trx) => emitEvent(trx, { type: 'project.ran', context: { client: 'knex' } }));
  await db.destroy();
  console.log(id);
}

void main();
