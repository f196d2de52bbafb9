import { MikroORM } from '@mikro-orm/postgresql';
import { emitEvent } from 'pg-outbox-clickhouse';

async function main(): Promise<void> {
  const orm = await MikroORM.init({
    clientUrl: process.env['DATABASE_URL']!,
    entities: [],
    discovery: { warnWhenNoEntities: false },
  });
  const id = await orm.em
    .fork()
    .transactional((em) => emitEvent(em, { type: 'project.ran', context: { client: 'mikro-orm' } }));
  await orm.close();
  console.log(id);
}

void main();
