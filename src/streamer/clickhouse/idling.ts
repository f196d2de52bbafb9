import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { STALLED_AFTER_MS } from '../observe/silence.ts';
import type { ClickHouse } from './client.ts';
import { urlsOf } from './hosts.ts';

/** An idle service of ClickHouse Cloud is given so long to wake. */
export const WAKE_MS = 60_000;
/** One that is awake answers sooner. */
const AWAKE_MS = 1000;
const AGAIN_MS = 500;

export interface Idling {
  readonly clickhouseUrl: string;
  readonly clickhouseIdling: 'auto' | 'on' | 'off';
}

/**
 * Whether ClickHouse goes to sleep where nobody asks it, and wakes at a question.
 *
 * https://clickhouse.com/docs/cloud/features/autoscaling/idling
 */
export function mayIdle({ clickhouseUrl, clickhouseIdling }: Idling): boolean {
  if (clickhouseIdling !== 'auto') return clickhouseIdling === 'on';
  return urlsOf(clickhouseUrl).some(({ hostname }) => hostname.endsWith('.clickhouse.cloud'));
}

/** After so long without an answer an insert counts as stalled: one that wakes ClickHouse takes longer than others. */
export function stalledAfterMs(idling: Idling): number {
  return mayIdle(idling) ? WAKE_MS : STALLED_AFTER_MS;
}

/**
 * Asks until ClickHouse answers, for as long as it may take to wake, and tells `onWaking` when it does not answer at once. Returns how
 * long it took, in ms; undefined when it was awake. Throws what the last question ran into.
 */
export async function awaken(clickhouse: ClickHouse, onWaking: () => void): Promise<number | undefined> {
  const began = performance.now();
  const timer = setTimeout(onWaking, AWAKE_MS);
  try {
    for (;;) {
      try {
        await clickhouse.select('SELECT 1');
        const tookMs = performance.now() - began;
        return tookMs < AWAKE_MS ? undefined : tookMs;
      } catch (error) {
        const isAway = error instanceof OutboxError && error.code === 'OUTBOX_CH_UNREACHABLE';
        if (!isAway || performance.now() - began > WAKE_MS) throw error;
      }
      await sleep(AGAIN_MS);
    }
  } finally {
    clearTimeout(timer);
  }
}
