import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { formatPosition } from '../../position.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Attachment } from './attachment.ts';

/** Not a repair's, whose LSNs are no multiples of eight, also where they went through quarantine. */
const OF_THE_STREAM = 'lsn % 8 = 0';
/** With positions of this server. What was in quarantine keeps the other one's, also when it is delivered after the move. */
export const OF_THIS_SERVER = "least(committed_at, delivered_at) > fromUnixTimestamp64Milli({movedAtMs:Int64}, 'UTC')";

type Scope = Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'signal'>;

/**
 * Detects that ClickHouse holds more than the ledger knows of, because a disk was restored or a ledger write was lost. Then the
 * ledger is not believed. Throws OutboxErrors OUTBOX_CH_*, OUTBOX_EPOCH_LOST.
 */
export async function detectLedgerBehind(
  scope: Scope,
  ledger: Pick<Ledger, 'state' | 'movedAtMs' | 'distrust'>,
): Promise<void> {
  const { log } = scope;
  const { rows, lastLsn } = await unknownRows(scope, ledger);
  if (rows === 0 || lastLsn < ledger.state.readBackBelow) return;
  // a holder that was frozen sees what its successor has delivered: the ledger says that it is not ours, and there is no such fault
  await ledger.distrust(lastLsn);
  log.error(
    { err: new OutboxError('OUTBOX_LEDGER_BEHIND'), rows, lastLsn: formatPosition({ lsn: lastLsn, seq: 0 }) },
    'ClickHouse holds more than the ledger knows of',
  );
}

/**
 * Rows of this source behind what the ledger has as delivered, other than those of its pending insert, which carry that
 * intent's time: how many, and the LSN of the last.
 */
async function unknownRows(
  { clickhouse, table, source, signal }: Scope,
  {
    state: {
      delivered: { lsn, seq },
      pending,
    },
    movedAtMs,
  }: Pick<Ledger, 'state' | 'movedAtMs'>,
): Promise<{ rows: number; lastLsn: Lsn }> {
  // a row too many is only looked for again
  const current = await whereCurrent(clickhouse, table, signal, 'all');
  const [found] = await clickhouse.select<{ rows: string; last: string }>(
    `SELECT toString(count()) AS rows, toString(max(lsn)) AS last FROM {table:Identifier}
      WHERE source = {source:String} AND ${OF_THE_STREAM} AND lsn >= {lsn:UInt64} AND (lsn, seq) > ({lsn:UInt64}, {seq:UInt64})
        AND ${OF_THIS_SERVER}
        AND NOT ((lsn, seq) <= ({toLsn:UInt64}, {toSeq:UInt64}) AND delivered_at = fromUnixTimestamp64Milli({atMs:Int64}, 'UTC'))
        AND ${current}`,
    {
      table,
      source,
      lsn,
      seq,
      movedAtMs,
      toLsn: pending?.to.lsn ?? 0,
      toSeq: pending?.to.seq ?? 0,
      atMs: pending?.atMs ?? 0,
    },
    signal,
  );
  return { rows: Number(found!.rows), lastLsn: Number(found!.last) };
}
