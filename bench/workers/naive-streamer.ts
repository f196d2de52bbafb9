/**
 * A streamer as one writes it first: the driver reads, each row becomes an object, rows go out as JSONEachRow. It does
 * what pg-logical-replication and its PgoutputPlugin do, over the same driver: an event a message, and each value read by
 * the driver's parser of its type, so that JSON becomes an object and a time a Date.
 */
import { EventEmitter } from 'node:events';
import { createClient } from '@clickhouse/client';
import { Client, types } from 'pg';
import { readLsn } from '../../src/lsn.ts';
import type { Lsn } from '../../src/lsn.ts';
import { standbyStatus } from '../../src/streamer/source/wire.ts';
import { FRAME_HEADER_BYTES } from '../../src/streamer/source/frames.ts';
import { given, say } from '../worker.ts';

const BATCH_ROWS = 10_000;
const FLUSH_MS = 1000;
const STATUS_MS = 1000;
/** Where reading pauses while an insert is under way. */
const WAITING_ROWS = 2 * BATCH_ROWS;

interface Relation {
  readonly columns: readonly { readonly name: string; readonly parse: (text: string) => unknown }[];
}

type Change =
  | { readonly tag: 'begin'; readonly commitLsn: Lsn; readonly commitTime: bigint }
  | { readonly tag: 'insert'; readonly values: Record<string, unknown> }
  | { readonly tag: 'commit'; readonly endLsn: Lsn };

interface Wire extends EventEmitter {
  readonly stream: { pause(): void; resume(): void };
  sendCopyFromChunk(chunk: Buffer): void;
}

const parserOf = types.getTypeParser as (oid: number) => (text: string) => unknown;
const relations = new Map<number, Relation>();
let rows: Record<string, unknown>[] = [];
let inTransaction = { commitLsn: 0, commitTime: 0n, seq: 0 };
let seenLsn: Lsn = 0;
let flushedLsn: Lsn = 0;
let isFlushing = false;

const clickhouse = createClient({ url: given('CLICKHOUSE_URL') });
const client = new Client({ connectionString: given('DATABASE_URL'), replication: 'database' } as object);
await client.connect();
const { connection } = client as unknown as { connection: Wire };
connection.once('replicationStart', () => say('attached'));
connection.on('copyData', ({ chunk }: { chunk: Buffer }) => {
  if (chunk[0] === 0x6b) {
    if (chunk[17] === 1) acknowledge();
    return;
  }
  take(decode(chunk.subarray(25)));
});
client
  .query(`START_REPLICATION SLOT "${given('SLOT')}" LOGICAL 0/0 (proto_version '1', publication_names 'outbox')`)
  .catch((error: unknown) => {
    throw error;
  });
setInterval(() => void flush(), FLUSH_MS);
setInterval(acknowledge, STATUS_MS);

function take(change: Change | undefined): void {
  if (change === undefined) return;
  if (change.tag === 'begin') inTransaction = { ...change, seq: 0 };
  else if (change.tag === 'commit') seenLsn = change.endLsn;
  else {
    const { values } = change;
    const parent = (values['traceparent'] as string | null)?.split('-');
    rows.push({
      event_type: values['event_type'],
      event_date_time: values['event_date_time'],
      environment: values['environment'],
      event_context_text: JSON.stringify(values['event_context']),
      metadata_version: values['metadata_version'],
      event_id: values['event_id'],
      lsn: String(inTransaction.commitLsn),
      seq: ++inTransaction.seq,
      committed_at: new Date(Number(inTransaction.commitTime / 1000n) + Date.UTC(2000, 0, 1)).toISOString(),
      trace_id: parent?.[1] ?? '',
      span_id: parent?.[2] ?? '',
    });
    if (rows.length >= BATCH_ROWS) void flush();
    if (rows.length >= WAITING_ROWS) connection.stream.pause();
  }
}

async function flush(): Promise<void> {
  if (isFlushing || rows.length === 0) return;
  isFlushing = true;
  const values = rows;
  const upTo = seenLsn;
  rows = [];
  await clickhouse.insert({
    table: 'events',
    format: 'JSONEachRow',
    values,
    clickhouse_settings: { date_time_input_format: 'best_effort', async_insert: 0 },
  });
  flushedLsn = upTo;
  isFlushing = false;
  connection.stream.resume();
  if (rows.length >= BATCH_ROWS) void flush();
}

function acknowledge(): void {
  connection.sendCopyFromChunk(standbyStatus(flushedLsn, flushedLsn, false).subarray(FRAME_HEADER_BYTES));
}

function decode(message: Buffer): Change | undefined {
  const tag = String.fromCharCode(message[0]!);
  if (tag === 'B') return { tag: 'begin', commitLsn: readLsn(message, 1), commitTime: message.readBigInt64BE(9) };
  if (tag === 'C') return { tag: 'commit', endLsn: readLsn(message, 10) };
  if (tag === 'R') {
    relations.set(message.readUInt32BE(1), decodeRelation(message));
    return undefined;
  }
  if (tag !== 'I') return undefined;
  const { columns } = relations.get(message.readUInt32BE(1))!;
  const values: Record<string, unknown> = {};
  let at = 8;
  for (const { name, parse } of columns) {
    const kind = message[at++];
    if (kind === 0x6e) {
      values[name] = null;
      continue;
    }
    const length = message.readUInt32BE(at);
    at += 4;
    values[name] = parse(message.toString('utf8', at, at + length));
    at += length;
  }
  return { tag: 'insert', values };
}

function decodeRelation(message: Buffer): Relation {
  let at = 5;
  const text = (): string => {
    const end = message.indexOf(0, at);
    const value = message.toString('utf8', at, end);
    at = end + 1;
    return value;
  };
  text();
  text();
  at++;
  const count = message.readUInt16BE(at);
  at += 2;
  const columns = Array.from({ length: count }, () => {
    at++;
    const name = text();
    const parse = parserOf(message.readUInt32BE(at));
    at += 8;
    return { name, parse };
  });
  return { columns };
}
