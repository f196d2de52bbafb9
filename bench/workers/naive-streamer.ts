/**
 * A typical first version of a streamer: pg-logical-replication reads and makes an object of each row, and rows are sent as
 * JSONEachRow. Flow control and manual acknowledgements follow its README for slow handlers.
 */
import { createClient } from '@clickhouse/client';
import { LogicalReplicationService, PgoutputPlugin, type Pgoutput } from 'pg-logical-replication';
import { parseLsn } from '../../src/lsn.ts';
import { given, say } from '../worker.ts';

const BATCH_ROWS = 10_000;
const FLUSH_MS = 1000;

let rows: Record<string, unknown>[] = [];
let transaction = { lsn: '', committedAt: '', rows: 0 };
let seenLsn: string | undefined;
let flushedLsn: string | undefined;
let inserted = Promise.resolve();

const clickhouse = createClient({ url: given('CLICKHOUSE_URL') });
const service = new LogicalReplicationService(
  { connectionString: given('DATABASE_URL') },
  // the library's timer would acknowledge what was received, whether or not it is in ClickHouse
  { acknowledge: { auto: false, timeoutSeconds: 0 }, flowControl: { enabled: true } },
);
service.on('start', () => say('attached'));
service.on('data', async (_lsn, message: Pgoutput.Message) => take(message));
service.on('heartbeat', async (_lsn, _time, wantsAnswer) => (wantsAnswer ? acknowledge() : undefined));
service.on('error', (error) => {
  throw error;
});
setInterval(() => void flush(), FLUSH_MS);
await service.subscribe(new PgoutputPlugin({ protoVersion: 1, publicationNames: ['outbox'] }), given('SLOT'));

/** Resolves when the next message may come. */
async function take(message: Pgoutput.Message): Promise<void> {
  if (message.tag === 'begin') {
    const committedAt = new Date(Number(message.commitTime) / 1000).toISOString();
    transaction = { lsn: message.commitLsn!, committedAt, rows: 0 };
  } else if (message.tag === 'commit') {
    // the library acknowledges one byte more than it is told: after a commit's end, it would skip the next transaction
    seenLsn = message.commitLsn!;
  } else if (message.tag === 'insert') {
    rows.push(rowOf(message.new));
    if (rows.length >= BATCH_ROWS) await flush();
  }
}

function rowOf(values: Record<string, unknown>): Record<string, unknown> {
  const parent = (values['traceparent'] as string | null)?.split('-');
  return {
    event_type: values['event_type'],
    event_date_time: values['event_date_time'],
    environment: values['environment'],
    event_context_text: JSON.stringify(values['event_context']),
    metadata_version: values['metadata_version'],
    event_id: values['event_id'],
    lsn: String(parseLsn(transaction.lsn)),
    seq: ++transaction.rows,
    committed_at: transaction.committedAt,
    trace_id: parent?.[1] ?? '',
    span_id: parent?.[2] ?? '',
    recorded_at: values['recorded_at'],
    recorded_by: values['recorded_by'],
  };
}

/** Sends the collected rows. Resolves when the previous insert is done, so that one insert fills while another runs. */
async function flush(): Promise<void> {
  if (rows.length === 0) return;
  const before = inserted;
  const values = rows;
  const upTo = seenLsn;
  rows = [];
  inserted = (async () => {
    await before;
    await clickhouse.insert({
      table: 'events',
      format: 'JSONEachRow',
      values,
      clickhouse_settings: { date_time_input_format: 'best_effort', async_insert: 0 },
    });
    flushedLsn = upTo;
    await acknowledge();
  })();
  await before;
}

async function acknowledge(): Promise<void> {
  if (flushedLsn !== undefined) await service.acknowledge(flushedLsn);
}
