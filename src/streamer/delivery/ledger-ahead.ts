import { OutboxError } from '../../errors.ts';
import { formatPosition, type Position } from '../../position.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { inspectTarget } from '../clickhouse/target.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Attachment } from './attachment.ts';
import { OF_THIS_SERVER } from './ledger-behind.ts';

/**
 * Reports that the last event which the ledger has as delivered is neither in the table nor in quarantine:
 * the URL names another table, or this one lost rows. Delivery goes on; retention looks for itself (retention/sample.ts). Returns
 * whether it is so. Throws OutboxErrors OUTBOX_CH_* and OUTBOX_PG_*.
 *
 * @param formerly an event that was delivered before, to be looked for instead, and no later one
 */
export async function detectLedgerAhead(
  { clickhouse, table, source, log, signal }: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'signal'>,
  ledger: Pick<Ledger, 'state' | 'movedAtMs' | 'isQuarantined'>,
  formerly?: Position,
): Promise<boolean> {
  const delivered = formerly ?? ledger.state.delivered;
  if (await isDelivered({ clickhouse, table, source, signal }, ledger, delivered, formerly !== undefined)) return false;
  if (await ledger.isQuarantined(delivered.lsn)) return false;
  // rows that are hidden are not gone: that has a code of its own
  await inspectTarget(clickhouse, table, signal);
  log.error(
    { err: new OutboxError('OUTBOX_LEDGER_AHEAD'), table, delivered: formatPosition(delivered) },
    'ClickHouse does not hold what the ledger has as delivered',
  );
  return true;
}

/** Whether the table holds the event at a position or a later one, as `repair` sends them, or there can be none: the ledger began there. */
async function isDelivered(
  { clickhouse, table, source, signal }: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'signal'>,
  { movedAtMs }: Pick<Ledger, 'movedAtMs'>,
  { lsn, seq }: Position,
  isThisOne: boolean,
): Promise<boolean> {
  if (seq === 0) return true;
  const current = await whereCurrent(clickhouse, table, signal);
  const found = await clickhouse.select(
    `SELECT 1 FROM {table:Identifier}
      WHERE source = {source:String} AND lsn >= {lsn:UInt64} AND (lsn, seq) >= ({lsn:UInt64}, {seq:UInt32})
        AND ({isThisOne:Bool} = false OR (lsn, seq) = ({lsn:UInt64}, {seq:UInt32})) AND ${OF_THIS_SERVER} AND ${current} LIMIT 1`,
    { table, source, lsn, seq, isThisOne, movedAtMs },
    signal,
  );
  return found.length > 0;
}
