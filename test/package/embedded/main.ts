import { Client } from 'pg';
import { emitEvent } from 'pg-outbox-clickhouse';
import { startServices } from 'pg-outbox-clickhouse/embedded';

async function main(): Promise<void> {
  await using services = await startServices();
  const client = new Client(services.postgres.url);
  await client.connect();
  await client.query('BEGIN');
  await emitEvent(client, { type: 'project.ran', context: {} });
  await client.query('COMMIT');
  await client.end();
  await services.delivered();
  const { origin, username, password } = new URL(services.clickhouse.url);
  const query = 'SELECT event_type FROM events';
  const answer = await fetch(`${origin}/?user=${username}&password=${password}&query=${query}`);
  console.log(await answer.text());
}

void main();
