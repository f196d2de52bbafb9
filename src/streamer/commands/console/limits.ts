import { OutboxError } from '../../../errors.ts';
import type { Limits } from '../../clickhouse/settings.ts';

/** Of one question. Two threads: what the page asks must not be in the way of inserts. */
export const LIMITS: Limits = { seconds: 10, memoryBytes: 1024 * 1024 * 1024, rowsRead: 100_000_000, threads: 2 };

/** TOO_MANY_ROWS, TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED, TOO_MANY_BYTES, TOO_MANY_ROWS_OR_BYTES */
const BEYOND = [158, 159, 160, 241, 307, 396];

/** An error as it is told to a reader. */
export function withinLimits(error: unknown): unknown {
  const isBeyond = error instanceof OutboxError && BEYOND.includes(error.clickhouseCode ?? 0);
  return isBeyond
    ? new OutboxError('OUTBOX_CONSOLE_LIMIT', { detail: error.message, clickhouseCode: error.clickhouseCode })
    : error;
}
