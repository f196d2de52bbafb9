import type { Metric } from './metrics.ts';
import { known, oneOf, tally, value } from './points.ts';

const STATES = ['writable', 'read_only', 'no_keeper'];

/** Of a replicated table, as the replica says that takes the events; absent for others. Sampled every ten seconds. */
export const REPLICAS: readonly Metric[] = [
  {
    name: 'outbox.clickhouse.replica.state',
    kind: 'gauge',
    unit: '',
    help: '1 for the state of the replica that takes the events, 0 for the others: no_keeper when it has no session with Keeper.',
    attributes: { state: STATES },
    read: ({ measures: { replica } }) =>
      replica === undefined ? [] : oneOf('state', STATES, value(replica.state.toLowerCase())),
  },
  {
    name: 'outbox.clickhouse.replicas',
    kind: 'gauge',
    unit: '{replica}',
    help: 'Replicas of the table that have a session with Keeper, and those that have none.',
    attributes: { state: ['active', 'away'] },
    read: ({ measures: { replica } }) =>
      replica === undefined ? [] : tally('state', { active: replica.active, away: replica.total - replica.active }),
  },
  {
    name: 'outbox.clickhouse.replica.delay',
    kind: 'gauge',
    unit: 's',
    help: 'How far the replica that takes the events is behind the others.',
    read: ({ measures }) => known(measures.replica?.delaySeconds),
  },
  {
    name: 'outbox.clickhouse.replica.queue',
    kind: 'gauge',
    unit: '{task}',
    help: 'Fetches, merges and mutations that this replica has still to do.',
    read: ({ measures }) => known(measures.replica?.queue),
  },
  {
    name: 'outbox.clickhouse.parts.lost',
    kind: 'counter',
    unit: '{part}',
    help: 'Parts that no replica had any more, since the table was made.',
    read: ({ measures }) => known(measures.replica?.lostParts),
  },
];
