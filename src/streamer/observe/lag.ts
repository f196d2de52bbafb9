import type { Progress } from './measures.ts';

/** How far delivery is behind: the one definition, for `/readyz`, metrics, `status` and `doctor`. */
export interface Lag {
  /** Age of the oldest that may wait: an event that ClickHouse may not have, or WAL that is not read. 0 when there is none, undefined when nobody reads. */
  readonly seconds: number | undefined;
  /** WAL that is written and not delivered, that of other tables included. */
  readonly bytes: number;
}

/** @param nowMs since 1970. Postgres' clock may be ahead of it: then an event has no age. */
export function lagOf({ oldestSeconds, lagBytes }: Progress, nowMs: number): Lag {
  const seconds = oldestSeconds === undefined ? 0 : Math.max(0, nowMs / 1000 - oldestSeconds);
  return { seconds, bytes: lagBytes };
}
