import type { ClickHouse } from './delivery/clickhouse.ts';
import type { Ledger } from './delivery/ledger.ts';
import { mostParts } from './delivery/parts.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Measures } from './measures.ts';

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
 * stays: delivery does not depend on it, and says by itself what is wrong.
 */
export function beginSurvey({ ledger, clickhouse, table, measures, signal }: SurveyOptions): Heartbeat {
  const survey = async (): Promise<void> => {
    measures.quarantined = await ledger.quarantined();
    measures.parts = await mostParts(clickhouse, table, signal);
  };
  const heartbeat = new Heartbeat(SURVEY_MS, survey, () => undefined);
  void heartbeat.beat();
  return heartbeat;
}
