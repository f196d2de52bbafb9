import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { describeDetached, detachedParts } from '../clickhouse/detached-parts.ts';

/** Clocks of the two servers may differ. */
const CLOCK_MARGIN_MS = 3_600_000;

/**
 * Makes sure that missing events cannot come back by themselves: attached again, a part would have each of them once more. Throws
 * OUTBOX_CH_PARTS_DETACHED, OUTBOX_CH_*.
 *
 * @param oldestMs when the oldest of them was recorded: what was detached before that cannot hold them
 */
export async function refuseDetached(clickhouse: ClickHouse, table: string, oldestMs: number): Promise<void> {
  const found = await detachedParts(clickhouse, table, oldestMs - CLOCK_MARGIN_MS);
  if (found.length === 0) return;
  throw new OutboxError('OUTBOX_CH_PARTS_DETACHED', {
    detail: `ClickHouse lacks events, and parts of the table "${table}" are detached`,
    problems: found.map(describeDetached),
  });
}
