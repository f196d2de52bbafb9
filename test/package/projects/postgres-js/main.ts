import postgres from 'postgres';
import { emitEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const sql = postgres(process.env['DATABASE_URL']!);
  const id = await sql.begin((tx) => emitEvent(tx, { type: 'project.ran', context: { client: 'postgres-js' } }));
  await sql.end();
  console.log(id);
}

void main();
