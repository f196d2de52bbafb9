import type { NodePgDatabase } from 'drizzle-orm/node-postgres';
import type { Kysely } from 'kysely';
import type { Client, Pool } from 'pg';
import { defineEvent, emitEvent } from 'pg-outbox-clickhouse';
import type { Sql } from 'postgres';

// The test leaves the expectations out, and reads what the compiler says.
export const refused = (
  pool: Pool,
  client: Client,
  db: NodePgDatabase,
  kysely: Kysely<object>,
  sql: Sql,
): unknown[] => [
  // @ts-expect-error -- refused
  emitEvent(pool, { type: 'a', context: {} }),
  // @ts-expect-error -- refused
  emitEvent(db, { type: 'a', context: {} }),
  // @ts-expect-error -- refused
  emitEvent(kysely, { type: 'a', context: {} }),
  // @ts-expect-error -- refused
  emitEvent(sql, { type: 'a', context: {} }),
  // @ts-expect-error -- refused
  emitEvent(pool.connect(), { type: 'a', context: {} }),
  // @ts-expect-error -- refused
  emitEvent(client, { type: 'a', context: [] }),
  // @ts-expect-error -- refused
  defineEvent<{ amount: bigint }>('order.placed'),
];
