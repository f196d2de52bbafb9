import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import type { Lsn } from '../../lsn.ts';
import { formatPosition, type Position } from '../../position.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { inspectTarget } from '../clickhouse/target.ts';
import { identityNow } from '../clickhouse/left-views.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { LedgerOverview } from '../ledger/overview.ts';
import type { Attachment } from './attachment.ts';
import { OF_THIS_SERVER } from './ledger-behind.ts';

/**
 * Reports that the last event which the ledger has as delivered is neither in the table nor in quarantine:
 * the URL names another table, or this one lost rows. Delivery goes on, and `/readyz` tells it for as long as the attachment lasts;
 * retention looks for itself (retention/sample.ts). Returns whether it is so. Throws OutboxErrors OUTBOX_CH_* and OUTBOX_PG_*.
 *
 * @param formerly an event that was delivered before, to be looked for instead, and no later one
 */
export async function detectLedgerAhead(
  scope: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'readiness' | 'signal'>,
  ledger: Pick<Ledger, 'state' | 'movedAtMs' | 'isAside'>,
  formerly?: Position,
): Promise<boolean> {
  const delivered = formerly ?? ledger.state.delivered;
  if (!(await isLacking(scope, ledger, delivered, formerly !== undefined))) return false;
  const { table, log, readiness } = scope;
  log.error(
    { err: new OutboxError('OUTBOX_LEDGER_AHEAD'), table, delivered: formatPosition(delivered) },
    'ClickHouse does not hold what the ledger has as delivered',
  );
  const at = new Date().toISOString();
  readiness.warned({ code: 'OUTBOX_LEDGER_AHEAD', detail: `${lacks(delivered)} when it was looked for at ${at}` });
  return true;
}

/**
 * The same for whoever asks from outside: OUTBOX_LEDGER_AHEAD, or undefined where nothing is lacking, where a TTL may have removed it,
 * and where that cannot be found out.
 */
export async function ledgerAhead(
  clickhouse: ClickHouse,
  table: string,
  { source, movedAtMs, delivered }: Pick<LedgerOverview, 'source' | 'movedAtMs' | 'delivered'>,
  isAside: (from: Lsn) => Promise<boolean>,
  deadlineMs: number,
): Promise<OutboxError | undefined> {
  const signal = AbortSignal.timeout(deadlineMs);
  try {
    if ((await identityNow(clickhouse, table, signal))?.expires !== false) return undefined;
    if (!(await isLacking({ clickhouse, table, source, signal }, { movedAtMs, isAside }, delivered, false)))
      return undefined;
    return new OutboxError('OUTBOX_LEDGER_AHEAD', { detail: lacks(delivered) });
  } catch (error) {
    if (error instanceof OutboxError || signal.aborted) return undefined;
    throw error;
  }
}

function lacks(delivered: Position): string {
  return `the event at ${formatPosition(delivered)}, which the ledger has as delivered, is neither in the table nor in quarantine`;
}

async function isLacking(
  scope: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'signal'>,
  ledger: Pick<Ledger, 'movedAtMs' | 'isAside'>,
  delivered: Position,
  isThisOne: boolean,
): Promise<boolean> {
  if (await isDelivered(scope, ledger, delivered, isThisOne)) return false;
  if (await ledger.isAside(delivered.lsn)) return false;
  // rows that are hidden are not gone: that has a code of its own
  await inspectTarget(scope.clickhouse, scope.table, scope.signal);
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
  const current = await whereCurrent(clickhouse, table, signal, 'all');
  const found = await clickhouse.select(
    `SELECT 1 FROM {table:Identifier}
      WHERE source = {source:String} AND lsn >= {lsn:UInt64} AND (lsn, seq) >= ({lsn:UInt64}, {seq:UInt32})
        AND ({isThisOne:Bool} = false OR (lsn, seq) = ({lsn:UInt64}, {seq:UInt32})) AND ${OF_THIS_SERVER} AND ${current} LIMIT 1`,
    { table, source, lsn, seq, isThisOne, movedAtMs },
    signal,
  );
  return found.length > 0;
}
