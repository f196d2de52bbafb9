import type { ClickHouse } from './clickhouse/client.ts';
import type { Ledger } from './ledger/ledger.ts';
import { mostParts } from './clickhouse/parts.ts';
import { Heartbeat } from './observe/periodic-check.ts';
import type { Measures } from './observe/measures.ts';

const SURVEY_MS = 10_000;

export interface SurveyOptions {
  readonly ledger: Ledger;
  readonly clickhouse: ClickHouse;
  readonly table: string;
  readonly measures: Measures;
  /** The session is over. */
  readonly signal: AbortSignal;
}

/**
 * Counts, now and at intervals, what only operators want to know. Where it may not look, or nobody answers, what it counted last
 * stays: delivery does not depend on it nor wait for it, and says by itself what is wrong.
 */
export function beginSurvey({ ledger, clickhouse, table, measures, signal }: SurveyOptions): Heartbeat {
  const survey = async (): Promise<void> => {
    const [quarantined, parts] = await Promise.allSettled([
      ledger.glanceAtQuarantine(),
      mostParts(clickhouse, table, signal),
    ]);
    // what an attachment knew ends with it
    if (signal.aborted) return;
    if (quarantined.status === 'fulfilled') measures.quarantined = quarantined.value;
    if (parts.status === 'fulfilled') measures.parts = parts.value;
  };
  const heartbeat = new Heartbeat(SURVEY_MS, survey, () => undefined);
  void heartbeat.beat();
  return heartbeat;
}
