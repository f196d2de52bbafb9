import { Client } from 'pg';
import { emitEvent, OutboxError, type OutboxEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const client = new Client(process.env['DATABASE_URL']);
  await client.connect();
  const event: OutboxEvent = { type: 'project.ran', context: { client: 'pg' } };
  const refused = await emitEvent(client, event).catch((error: unknown) => error);
  if (!(refused instanceof OutboxError) || refused.code !== 'OUTBOX_NO_TRANSACTION') throw refused;
  await client.query('BEGIN');
  const id = await emitEvent(client, event);
  await client.query('COMMIT');
  await client.end();
  console.log(id);
}

void main();
