import { OutboxError } from '../../errors.ts';
import { formatPosition, type Position } from '../../position.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Attachment } from './attachment.ts';

/**
 * Reports, once for an attachment, that the last event which the ledger has as delivered is neither in the table nor in quarantine:
 * the URL names another table, or this one lost rows. Delivery goes on; retention looks for itself (retention/sample.ts). Throws
 * OutboxErrors OUTBOX_CH_* and OUTBOX_PG_*.
 */
export async function detectLedgerAhead(
  { clickhouse, table, source, log, signal }: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'signal'>,
  ledger: Pick<Ledger, 'state' | 'isQuarantined'>,
): Promise<void> {
  const { delivered } = ledger.state;
  if (await isDelivered(clickhouse, table, source, delivered, signal)) return;
  if (await ledger.isQuarantined(delivered.lsn)) return;
  log.error(
    { err: new OutboxError('OUTBOX_LEDGER_AHEAD'), table, delivered: formatPosition(delivered) },
    'ClickHouse does not hold what the ledger has as delivered',
  );
}

/** Whether the table holds the event at a position or a later one, as `repair` sends them, or there can be none: the ledger began there. */
async function isDelivered(
  clickhouse: ClickHouse,
  table: string,
  source: string,
  { lsn, seq }: Position,
  signal?: AbortSignal,
): Promise<boolean> {
  if (seq === 0) return true;
  const found = await clickhouse.select(
    `SELECT 1 FROM {table:Identifier}
      WHERE source = {source:String} AND lsn >= {lsn:UInt64} AND (lsn, seq) >= ({lsn:UInt64}, {seq:UInt32}) LIMIT 1`,
    { table, source, lsn, seq },
    signal,
  );
  return found.length > 0;
}
