import { expect, test } from 'vitest';
import type { Pending } from '../ledger/row.ts';
import type { Database } from '../source/database.ts';
import { RepairLedger } from './repair-ledger.ts';

function pendingOf(seq: number): Pending {
  return { to: { lsn: 99, seq }, rows: 1, token: `token ${seq}`, atMs: seq };
}

test('RepairLedger keeps the highest readBackBelow of its splits for every later insert', async () => {
  const ledger = new RepairLedger({
    // this test calls nothing that queries Postgres
    db: undefined as unknown as Database,
    slot: 'outbox',
    timeline: 1,
    from: { lsn: 99, seq: 0 },
    prove: async () => Promise.resolve(),
    record: undefined,
  });
  await ledger.intend(pendingOf(8));
  await ledger.split(pendingOf(4), 100);
  expect(ledger.state).toMatchObject({ pending: pendingOf(4), readBackBelow: 100 });
  await ledger.split(pendingOf(2), 0);
  await ledger.intend(pendingOf(4));
  expect(ledger.state).toMatchObject({ delivered: { lsn: 99, seq: 2 }, pending: pendingOf(4), readBackBelow: 100 });
});
