import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { emitEvent } from 'pg-outbox-clickhouse';
import * as schema from 'pg-outbox-clickhouse/schema';

async function main(): Promise<void> {
  const db = drizzle(process.env['DATABASE_URL']!, { schema });
  const id = await db.transaction((tx) => emitEvent(tx, { type: 'project.ran', context: { client: 'drizzle' } }));
  const [event] = await db.select().from(schema.event).where(eq(schema.event.event_id, id));
  await db.$client.end();
  console.log(event?.event_id);
}

void main();
