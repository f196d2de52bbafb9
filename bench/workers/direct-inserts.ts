/** Sends one insert per event to ClickHouse, as an application without an outbox may do. */
import { randomUUID } from 'node:crypto';
import { createClient } from '@clickhouse/client';
import { contextOf } from '../notes.ts';
import { given, say } from '../worker.ts';

const events = Number(given('EVENTS'));
const inFlight = Number(given('IN_FLIGHT'));
const clickhouse = createClient({ url: given('CLICKHOUSE_URL'), max_open_connections: inFlight });
let sent = 0;

say('attached');
await Promise.all(Array.from({ length: inFlight }, send));
say('done');
setInterval(() => undefined, 60_000);

async function send(): Promise<void> {
  while (sent < events) {
    const i = sent++;
    const now = new Date().toISOString();
    await clickhouse.insert({
      table: 'events',
      format: 'JSONEachRow',
      values: [
        {
          event_type: `order.${i % 12}`,
          event_date_time: now,
          environment: 'production',
          event_context_text: JSON.stringify(contextOf(i)),
          metadata_version: 1,
          event_id: randomUUID(),
          committed_at: now,
        },
      ],
      clickhouse_settings: { date_time_input_format: 'best_effort', async_insert: 0 },
    });
  }
}
