import { expect, test } from 'vitest';
import { bad, command, ok, query, sql } from './finding.ts';
import { inOrder } from './order.ts';

test('findings come in the order in which their fixes work, whichever database they are of', () => {
  const found = [
    ok('postgres.connection', 'reachable'),
    bad('error', 'postgres.streamer', 'none', 'why', command('run')),
    bad('error', 'postgres.publication', 'missing', 'why', command('migrate'), command('repair')),
    bad('warning', 'postgres.ring', 'late', 'why', command('retention')),
    bad('error', 'postgres.ledger', 'no row', 'why', command('migrate')),
    bad('error', 'postgres.wal_level', 'replica', 'why', sql('ALTER SYSTEM SET wal_level = logical')),
    bad('error', 'clickhouse.table', 'window', 'why', query('ALTER TABLE events MODIFY SETTING x = 1')),
    bad('warning', 'postgres.quarantine', '1 event', 'why', command('quarantine list')),
  ];
  expect(inOrder(found).map(({ id }) => id)).toEqual([
    'postgres.wal_level',
    'clickhouse.table',
    'postgres.ledger',
    'postgres.publication',
    'postgres.streamer',
    'postgres.quarantine',
    'postgres.ring',
    'postgres.connection',
  ]);
});
