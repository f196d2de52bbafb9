import { DataSource } from 'typeorm';
import { emitEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const dataSource = new DataSource({ type: 'postgres', url: process.env['DATABASE_URL']! });
  await dataSource.initialize();
  const id = await dataSource.transaction((manager) =>
    emitEvent(manager, { type: 'project.ran', context: { client: 'typeorm' } }),
  );
  await dataSource.destroy();
  console.log(id);
}

void main();
