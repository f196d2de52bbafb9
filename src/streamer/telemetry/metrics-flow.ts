import { POLICIES } from '../../error-codes/entry.ts';
import { ERRORS, type ErrorCode } from '../../errors.ts';
import type { Metric, Point } from './metrics.ts';
import { each, known, oneOf, tally, value } from './points.ts';

const OTHER = '_OTHER';
const RETRIED = codesCountedAs('retry');
const SESSION_ENDS = [...codesCountedAs('reconnect'), OTHER];
const STREAM_STATES = ['starting', 'streaming', 'standing_by', 'not_streaming'];
const PAUSES = ['resting', 'buffer full', 'draining'] as const;

/** How events flow. */
export const FLOW: readonly Metric[] = [
  {
    name: 'outbox.stream.state',
    kind: 'gauge',
    unit: '',
    help: '1 for the state that the streamer is in, 0 for the others.',
    attributes: { state: STREAM_STATES },
    read: ({ state }) => oneOf('state', STREAM_STATES, value(state)),
  },
  {
    name: 'outbox.reconnects',
    kind: 'counter',
    unit: '{reconnect}',
    help: 'Sessions with Postgres that ended in an error, or did not come about, after each of which it connects again.',
    attributes: { 'error.type': SESSION_ENDS },
    read: ({ measures: { failures } }) =>
      each('error.type', SESSION_ENDS, (code) => failures.get(code === OTHER ? undefined : (code as ErrorCode)) ?? 0),
  },
  {
    name: 'outbox.clickhouse.writable',
    kind: 'gauge',
    unit: '',
    help: '1 while inserts and the probe (the table’s definition, every five seconds) go well, 0 while either fails, or an insert has had no answer for 15 seconds; absent before the first answer, and on a standby.',
    read: ({ isClickHouseWritable: isWritable }) => known(isWritable === undefined ? undefined : Number(isWritable)),
  },
  {
    name: 'outbox.events',
    kind: 'counter',
    unit: '{event}',
    help: 'Events that ClickHouse has, and those that it rejected and that are in quarantine.',
    attributes: { outcome: ['delivered', 'quarantined'] },
    read: ({ measures: { events } }) => tally('outcome', events),
  },
  {
    name: 'outbox.batches',
    kind: 'counter',
    unit: '{batch}',
    help: 'Batches of which every event is delivered or in quarantine.',
    read: ({ measures }) => known(measures.batches),
  },
  {
    name: 'outbox.delivered.size',
    kind: 'counter',
    unit: 'By',
    help: 'Bytes of these batches, as they are sent to ClickHouse.',
    read: ({ measures }) => known(measures.bytes),
  },
  {
    name: 'outbox.freshness',
    kind: 'histogram',
    unit: 's',
    help: 'From an event’s commit until ClickHouse is known to have it, for every delivered event. By two clocks: that of Postgres and that of the streamer.',
    read: ({ measures }) => measures.freshness,
  },
  {
    name: 'outbox.lag.duration',
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest event that the streamer has read and ClickHouse may not have; 0 when there is none. Absent on a standby.',
    read: ({ lag }) => known(lag?.seconds),
  },
  {
    name: 'outbox.lag.size',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of WAL, of all tables, that are written and not delivered. On a standby: WAL that is not acknowledged.',
    read: ({ lag }) => known(lag?.bytes),
  },
  {
    name: 'outbox.inserts',
    kind: 'counter',
    unit: '{insert}',
    help: 'Attempts to insert: done, failed (the same will be repeated), refused (permanently: split, or put into quarantine).',
    attributes: { outcome: ['done', 'failed', 'refused'] },
    read: ({ measures: { inserts } }) => tally('outcome', inserts),
  },
  {
    name: 'db.client.operation.duration',
    kind: 'histogram',
    unit: 's',
    help: 'How long the inserts took that are done.',
    attributes: { 'db.system.name': ['clickhouse'], 'db.operation.name': ['INSERT'] },
    read: ({ measures }) => measures.insertSeconds,
  },
  {
    name: 'outbox.retries',
    kind: 'counter',
    unit: '{retry}',
    help: 'What ClickHouse did not answer well, and was or will be tried again, by the error’s code.',
    attributes: { 'error.type': RETRIED },
    read: ({ measures: { retries } }) => each('error.type', RETRIED, (code) => retries.get(code as ErrorCode) ?? 0),
  },
  {
    name: 'outbox.dates.clamped',
    kind: 'counter',
    unit: '{event}',
    help: 'Events whose date DateTime64(6) cannot hold.',
    read: ({ measures }) => known(measures.clamped),
  },
  {
    name: 'outbox.buffer.events',
    kind: 'gauge',
    unit: '{event}',
    help: 'Events in memory: those of the batch in flight and of the one that fills.',
    read: ({ measures }) => known(measures.progress?.bufferedEvents),
  },
  {
    name: 'outbox.buffer.size',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of these events.',
    read: ({ measures }) => known(measures.progress?.bufferedBytes),
  },
  {
    name: 'outbox.pauses',
    kind: 'counter',
    unit: '{pause}',
    help: 'How often reading from Postgres paused: to rest for 8 ms after 32 reads, because two batches were full, to stop.',
    attributes: { reason: PAUSES.map(value) },
    read: ({ measures: { pauses } }) => PAUSES.map((reason): Point => [pauses[reason], { reason: value(reason) }]),
  },
  {
    name: 'outbox.full.time',
    kind: 'counter',
    unit: 's',
    help: 'Time for which nothing was read because two batches were full: ClickHouse, or the network to it, was slower than Postgres.',
    read: ({ measures }) => known(measures.fullSeconds),
  },
];

function codesCountedAs(counter: 'retry' | 'reconnect'): string[] {
  return Object.entries(ERRORS)
    .filter(([, { policy }]) => POLICIES[policy].counted === counter)
    .map(([code]) => code);
}
