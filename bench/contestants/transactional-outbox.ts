import { DatabaseSetup } from 'pg-transactional-outbox';
import { catchUp, type Contestant } from '../contestant.ts';
import type { Shape, Source } from '../source.ts';
import { Warehouse } from '../warehouse.ts';
import { Worker } from '../worker.ts';
import { IN_FLIGHT, PART, partOf } from './direct.ts';

const TABLE = { schema: 'peer', table: 'message' };
const PUBLICATION = 'peer_message';
const SLOT = 'bench_message';

/**
 * Uses the listener that its README names first. The polling listener is as fast with the same concurrency, but each of its
 * queries reads the whole backlog, so that it slows down as the backlog grows.
 */
export const TRANSACTIONAL_OUTBOX: Contestant = {
  name: 'pg-transactional-outbox (JSON typed)',
  about: `the package’s own table and replication listener. The listener calls its handler once per message, in a transaction that locks the message’s row and marks it as processed. The handler sends one insert per message (JSONEachRow). ${IN_FLIGHT} handlers run at once, each with a connection to Postgres; the package’s default is one. After a crash it repeats messages as equal inserts, which this table deduplicates. Its backlog has one event for every ${1 / PART} events of the other contestants`,
  readsPeerTable: true,
  prepare: async (source, shape) => ({
    measure: async () => {
      await using warehouse = await Warehouse.start();
      await using after = new AsyncDisposableStack();
      await setUp(source);
      after.defer(async () => source.dropSlot(SLOT));
      await fill(source, shape);
      const environment = {
        DATABASE_URL: source.url,
        CLICKHOUSE_URL: warehouse.url,
        SCHEMA: TABLE.schema,
        TABLE: TABLE.table,
        PUBLICATION,
        SLOT,
        IN_FLIGHT: String(IN_FLIGHT),
      };
      const start = async (): Promise<Worker> => Worker.start('message-handler.ts', environment);
      return await catchUp({ source, events: partOf(shape), warehouse, start, role: 'streamer', slot: SLOT });
    },
    [Symbol.asyncDispose]: async () => undefined,
  }),
};

/** Runs the package's own SQL. Postgres refuses to create a slot in a transaction that has written. */
async function setUp({ db, url }: Source): Promise<void> {
  const { username, pathname } = new URL(url);
  const config = {
    ...TABLE,
    outboxOrInbox: 'outbox' as const,
    database: pathname.slice(1),
    listenerRole: username,
    publication: PUBLICATION,
    replicationSlot: SLOT,
  };
  await db.query(DatabaseSetup.dropAndCreateTable(config));
  await db.query(DatabaseSetup.setupReplicationCore(config));
  await db.query(DatabaseSetup.setupReplicationSlot(config));
}

/** Commits the first events of the others' backlog as messages, in transactions of the same size. */
async function fill({ db }: Source, shape: Shape): Promise<void> {
  await db.query(`
    DO $$ BEGIN
      FOR low IN 1..${partOf(shape)} BY ${shape.perTransaction} LOOP
        INSERT INTO ${TABLE.schema}.${TABLE.table} (id, aggregate_type, aggregate_id, message_type, payload, metadata, created_at)
        SELECT event_id, 'order', event_context->>'orderId', event_type, event_context,
               json_build_object('environment', environment, 'metadataVersion', metadata_version), event_date_time
          FROM peer.event
         WHERE id BETWEEN low AND least(low + ${shape.perTransaction} - 1, ${partOf(shape)})
         ORDER BY id;
        COMMIT;
      END LOOP;
    END $$`);
}
