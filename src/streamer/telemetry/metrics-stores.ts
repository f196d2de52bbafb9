import { VERSION } from '../version.ts';
import type { Metric } from './metrics.ts';
import { known, oneOf, tally } from './points.ts';

const SLOT_STATES = ['reserved', 'extended', 'unreserved', 'invalid', 'missing'];

/** What both databases hold, and the process. */
export const STORES: readonly Metric[] = [
  {
    name: 'outbox.quarantine.events',
    kind: 'gauge',
    unit: '{event}',
    help: 'Events in quarantine now, sampled every ten seconds.',
    read: ({ measures }) => known(measures.quarantined),
  },
  {
    name: 'outbox.views.unproven',
    kind: 'counter',
    unit: '{event}',
    help: 'Events that were found in the table after an insert of unknown outcome, where materialized views may lack them.',
    read: ({ measures }) => known(measures.unproven),
  },
  {
    name: 'outbox.log.dropped',
    kind: 'counter',
    unit: '{line}',
    help: 'Lines of the log that could not be written, because nobody reads them or a disk is full.',
    read: ({ measures }) => known(measures.log.dropped),
  },
  {
    name: 'outbox.clickhouse.parts',
    kind: 'gauge',
    unit: '{part}',
    help: 'Active parts in the partition of the table that has most, sampled every ten seconds. ClickHouse refuses inserts beyond parts_to_throw_insert.',
    read: ({ measures }) => known(measures.parts),
  },
  {
    name: 'outbox.transactions.oldest',
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest transaction that has written and is open, as far as the role may see it (pg_read_all_stats); the slot keeps WAL since it began. Sampled every ten seconds.',
    read: ({ measures }) => known(measures.openSeconds),
  },
  {
    name: 'outbox.slot.state',
    kind: 'gauge',
    unit: '',
    help: '1 for the state of the replication slot, 0 for the others. The first three are wal_status of pg_replication_slots.',
    attributes: { state: SLOT_STATES },
    read: ({ slotState }) => (slotState === undefined ? [] : oneOf('state', SLOT_STATES, slotState)),
  },
  {
    name: 'outbox.slot.endangered',
    kind: 'gauge',
    unit: '',
    help: '1 when the slot will be lost unless something changes (OUTBOX_SLOT_ENDANGERED).',
    read: ({ report: { slot } }) => known(slot === undefined ? undefined : Number(slot.endangered)),
  },
  {
    name: 'outbox.slot.runway',
    kind: 'gauge',
    unit: 's',
    help: 'Until the slot may be lost, in whole minutes, at the rate at which its WAL was used up in the last minute; absent when no end is in sight.',
    read: ({ report: { slot } }) => known(slot?.runwayMinutes === undefined ? undefined : slot.runwayMinutes * 60),
  },
  {
    name: 'outbox.slot.safe_wal',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of WAL that can be written before the slot may be lost; absent without max_slot_wal_keep_size.',
    read: ({ measures: { slot } }) => known(slot?.safeWalBytes),
  },
  {
    name: 'outbox.slot.retained',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of WAL that the slot keeps on the server’s disk.',
    read: ({ measures: { slot } }) => known(slot?.retainedBytes),
  },
  {
    name: 'outbox.ledger.position',
    kind: 'gauge',
    unit: 'By',
    help: 'Where the ledger is, as bytes since the beginning of WAL: the commit of the last delivered event, and what Postgres may forget.',
    attributes: { position: ['delivered', 'acked'] },
    read: ({ measures: { progress } }) =>
      progress === undefined ? [] : tally('position', { delivered: progress.deliveredLsn, acked: progress.ackedLsn }),
  },
  {
    name: 'outbox.ledger.epoch',
    kind: 'gauge',
    unit: '',
    help: 'Counts the takeovers of the ledger.',
    read: ({ measures }) => known(measures.progress?.epoch),
  },
  {
    name: 'outbox.retention.events',
    kind: 'gauge',
    unit: '{event}',
    help: 'Events that outbox.event keeps, as Postgres estimates, after the last retention.',
    read: ({ report: { retention } }) => known(retention?.rows),
  },
  {
    name: 'outbox.retention.size',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of outbox.event, with indexes.',
    read: ({ report: { retention } }) => known(retention?.bytes),
  },
  {
    name: 'outbox.retention.age',
    kind: 'gauge',
    unit: 's',
    help: 'Age of the oldest event that outbox.event keeps; absent while it is empty.',
    read: ({ report: { retention } }) =>
      known(retention?.oldestAt === undefined ? undefined : (Date.now() - retention.oldestAt) / 1000),
  },
  {
    name: 'outbox.retention.emptied',
    kind: 'counter',
    unit: '{partition}',
    help: 'How often a partition of outbox.event was emptied of expired events.',
    read: ({ report: { retention } }) => known(retention?.emptied),
  },
  {
    name: 'outbox.retention.held',
    kind: 'gauge',
    unit: '',
    help: '1 while the retention fails, or expired events stay in outbox.event; the log says why.',
    read: ({ report: { retention } }) =>
      known(retention === undefined ? undefined : Number(retention.problem !== undefined)),
  },
  {
    name: 'outbox.build.info',
    kind: 'gauge',
    unit: '',
    help: 'Always 1; the label has the version of the streamer.',
    attributes: { version: [VERSION] },
    read: () => [[1, { version: VERSION }]],
  },
  {
    name: 'process.memory.usage',
    kind: 'gauge',
    unit: 'By',
    help: 'Resident memory of the process.',
    read: () => known(process.memoryUsage.rss()),
  },
  {
    name: 'process.cpu.time',
    kind: 'counter',
    unit: 's',
    help: 'CPU time of the process.',
    attributes: { 'cpu.mode': ['user', 'system'] },
    read: () => {
      const { user, system } = process.cpuUsage();
      return tally('cpu.mode', { user: user / 1e6, system: system / 1e6 });
    },
  },
  {
    name: 'process.resident_memory',
    kind: 'gauge',
    unit: 'By',
    help: 'The same as process.memory.usage, by the name that Prometheus’ own libraries give it.',
    read: () => known(process.memoryUsage.rss()),
  },
  {
    name: 'process.cpu',
    kind: 'counter',
    unit: 's',
    help: 'The sum of process.cpu.time, by the name that Prometheus’ own libraries give it.',
    read: () => {
      const { user, system } = process.cpuUsage();
      return known((user + system) / 1e6);
    },
  },
  {
    name: 'process.start_time',
    kind: 'gauge',
    unit: 's',
    help: 'When the process started, in seconds since 1970.',
    read: () => known(performance.timeOrigin / 1000),
  },
  {
    name: 'nodejs.eventloop.utilization',
    kind: 'gauge',
    unit: '1',
    help: 'Part of the time for which the event loop was busy, since it was last asked.',
  },
  {
    name: 'nodejs.eventloop.delay.p99',
    kind: 'gauge',
    unit: 's',
    help: 'Delay of the event loop, 99th percentile, since it was last asked.',
  },
  {
    name: 'nodejs.eventloop.delay.max',
    kind: 'gauge',
    unit: 's',
    help: 'Longest delay of the event loop since it was last asked.',
  },
  {
    name: 'v8js.gc.duration',
    kind: 'histogram',
    unit: 's',
    help: 'Garbage collections. A kind is there once it has happened.',
    attributes: { 'v8js.gc.type': ['major', 'minor', 'incremental', 'weakcb'] },
  },
];
