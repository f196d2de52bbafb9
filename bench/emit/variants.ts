import { randomUUID } from 'node:crypto';
import type { ClickHouseClient } from '@clickhouse/client';
import type { Client } from 'pg';
import { emitEvent } from '../../src/app/index.ts';
import { contextOf } from '../notes.ts';

/** One request of an application: it stores an order and then, depending on the variant, records an event. */
export interface Variant {
  readonly name: string;
  readonly request: (i: number) => Promise<void>;
}

const TYPE = 'order.placed';
const ENVIRONMENT = 'production';
const INSERT = `INSERT INTO outbox.event (event_id, event_type, event_date_time, environment, event_context, metadata_version, traceparent, tracestate)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`;

export const NONE = 'no event';
export const BARE = 'a bare INSERT of the same row';
export const EMIT = 'emitEvent';
export const DIRECT = 'an insert into ClickHouse';

export function variantsOf(db: Client, clickhouse: ClickHouseClient): Variant[] {
  const transaction = async (i: number, tell: () => Promise<unknown>): Promise<void> => {
    await db.query('BEGIN');
    try {
      await db.query('INSERT INTO shop.order (customer, amount) VALUES ($1, $2)', [`c-${i % 1000}`, i % 500]);
      await tell();
      await db.query('COMMIT');
    } catch (error) {
      await db.query('ROLLBACK');
      throw error;
    }
  };
  return [
    { name: NONE, request: async (i) => transaction(i, async () => undefined) },
    {
      name: BARE,
      request: async (i) => transaction(i, async () => db.query(INSERT, bareRow(i))),
    },
    {
      name: EMIT,
      request: async (i) =>
        transaction(i, async () => emitEvent(db, { type: TYPE, environment: ENVIRONMENT, context: contextOf(i) })),
    },
    {
      name: DIRECT,
      request: async (i) => {
        await transaction(i, async () => undefined);
        await clickhouse.insert({ table: 'events', format: 'JSONEachRow', values: [directRow(i)] });
      },
    },
  ];
}

export function bareRow(i: number): unknown[] {
  const now = new Date().toISOString();
  return [randomUUID(), TYPE, now, ENVIRONMENT, JSON.stringify(contextOf(i)), 1, null, null];
}

function directRow(i: number): Record<string, unknown> {
  return {
    event_type: TYPE,
    environment: ENVIRONMENT,
    event_context_text: JSON.stringify(contextOf(i)),
    metadata_version: 1,
    event_id: randomUUID(),
  };
}
