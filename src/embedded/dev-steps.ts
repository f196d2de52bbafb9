import { fetchUrl } from './url.ts';

/** What `dev` prints when events flow: where the servers are, how to emit an event, and how to see it arrive. */
export function firstSteps(databaseUrl: string, clickhouseUrl: string): string {
  const query = 'SELECT event_type, event_context FROM events ORDER BY lsn, seq FORMAT Vertical';
  return `  DATABASE_URL=${databaseUrl}
  CLICKHOUSE_URL=${clickhouseUrl}

Emit an event in a transaction of your application,

  await emitEvent(tx, { type: 'order.placed', context: { orderId: 7 } });

or in any client of Postgres:

  SELECT outbox.emit('order.placed', '{"orderId": 7}');

Then ask ClickHouse:

  curl '${fetchUrl(clickhouseUrl)}' --data '${query}'
`;
}
