import type { Batch } from '../batch/batch.ts';
import { encode } from '../batch/native.ts';
import { INSERT_COLUMNS } from '../clickhouse/columns.ts';
import { countRows, type Rows } from '../batch/rows.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import type { Attachment } from './attachment.ts';

/** One insert. A repetition has the same rows, token and time. */
export interface Sending {
  readonly batch: Batch;
  /** Some rows of it; without them, all that a batch has which was cut. */
  readonly runs: readonly Rows[] | undefined;
  readonly token: string;
  /** ClickHouse's `delivered_at`, ms since 1970. */
  readonly atMs: number;
}

export const INSERT = `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`;

/**
 * Throws, as an OutboxError OUTBOX_CH_*, what would refuse every insert: a privilege, a setting that may not be sent, a column.
 *
 * @param timeoutMs as in `insertNothing`
 */
export async function sendNothing(
  clickhouse: ClickHouse,
  table: string,
  signal?: AbortSignal,
  timeoutMs?: number,
): Promise<void> {
  await clickhouse.insertNothing(INSERT, { table }, signal, timeoutMs);
}

/** Sends some rows of a batch under a token, once. Throws OutboxErrors OUTBOX_CH_*. */
export async function send(
  { clickhouse, ledger, source, table, origin, signal }: Attachment,
  { batch, runs, token, atMs }: Sending,
): Promise<void> {
  const rows = runs === undefined ? batch.rows : countRows(runs);
  await clickhouse.insert(
    {
      query: INSERT,
      parameters: { table },
      rows,
      token,
      queryId: `${source}/${ledger.epoch}/${token}`,
      body: encode(batch, { source, deliveredAtMs: atMs, origin }, runs),
    },
    signal,
  );
}
