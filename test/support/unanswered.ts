import type { Outbox } from './outbox.ts';
import { Proxy } from './proxy.ts';
import type { Streamer } from './streamer.ts';

export interface Unanswered {
  /** Between the streamer and ClickHouse; it holds the answers to inserts. */
  readonly proxy: Proxy;
  readonly streamer: Streamer;
}

/**
 * ClickHouse has applied an insert of `rows` events, its answer is held, and the streamer still waits for it.
 *
 * @param before events that were delivered earlier, with an answer
 */
export async function unanswered(
  outbox: Outbox,
  { rows, before = 0, environment = {} }: { rows: number; before?: number; environment?: Record<string, string> },
): Promise<Unanswered> {
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream({ CLICKHOUSE_URL: url, ...environment });
  await streamer.attached();
  if (before > 0) {
    await outbox.fill(before);
    await outbox.untilDelivered(before);
  }
  proxy.holdAnswersToInserts();
  await outbox.fill(rows);
  await outbox.untilDelivered(before + rows);
  return { proxy, streamer };
}
