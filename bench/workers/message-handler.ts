/** Sends the messages of pg-transactional-outbox to ClickHouse. The package calls the handler once per message. */
import { createClient } from '@clickhouse/client';
import type { PoolConfig } from 'pg';
import {
  createReplicationSemaphoreConcurrencyController,
  getDefaultLogger,
  initializeReplicationMessageListener,
  type TransactionalMessage,
} from 'pg-transactional-outbox';
import { given, say } from '../worker.ts';

const inFlight = Number(given('IN_FLIGHT'));
const dbListenerConfig = { connectionString: given('DATABASE_URL') };
// the pool has ten connections by default, and each message holds one while it is handled
const dbHandlerConfig: PoolConfig = { ...dbListenerConfig, max: inFlight };
const clickhouse = createClient({ url: given('CLICKHOUSE_URL'), max_open_connections: inFlight });

initializeReplicationMessageListener(
  {
    outboxOrInbox: 'outbox',
    dbListenerConfig,
    dbHandlerConfig,
    settings: {
      dbSchema: given('SCHEMA'),
      dbTable: given('TABLE'),
      dbPublication: given('PUBLICATION'),
      dbReplicationSlot: given('SLOT'),
      // both off, as in its README for an outbox: each of them adds statements to every message
      enableMaxAttemptsProtection: false,
      enablePoisonousMessageProtection: false,
    },
  },
  { handle },
  getDefaultLogger('outbox'),
  { concurrencyStrategy: createReplicationSemaphoreConcurrencyController(inFlight) },
);
// the package does not report when it holds the slot, so its time includes connecting
say('attached');

async function handle({ id, messageType, payload, metadata, createdAt }: TransactionalMessage): Promise<void> {
  await clickhouse.insert({
    table: 'events',
    format: 'JSONEachRow',
    values: [
      {
        event_type: messageType,
        event_date_time: createdAt,
        environment: metadata?.['environment'],
        event_context_text: JSON.stringify(payload),
        metadata_version: metadata?.['metadataVersion'],
        event_id: id,
        committed_at: createdAt,
      },
    ],
    clickhouse_settings: { date_time_input_format: 'best_effort', async_insert: 0 },
  });
}
