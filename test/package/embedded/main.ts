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
  const query = 'SELECT event_type FROM events';
  const answer = await fetch(services.clickhouse.fetchUrl, { method: 'POST', body: query });
  console.log(await answer.text());
}

void main();
