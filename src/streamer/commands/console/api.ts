/** What the server answers, and the page reads. Times are ISO 8601 in UTC, but for those of charts: s since 1970. */
import type { ErrorCode } from '../../../errors.ts';
import type { Finding } from '../doctor/finding.ts';
import type { FlowReport } from '../status/report.ts';
import type { VerifyReport } from '../verify-report.ts';
import type { Progress } from '../../compare/comparison.ts';
import type { Effective } from '../../config.ts';

/** Every answer that is not 200. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
}

/** What this console may show and do. */
export interface Session {
  readonly version: string;
  /** With the schema behind it, where that has a name of its own. */
  readonly database: string;
  readonly table: string;
  /** The slot of the settings, and all of the ledger. */
  readonly slot: string;
  readonly slots: readonly string[];
  readonly payloads: boolean;
  /** Why nothing can be retried or discarded here; null where it can. */
  readonly readOnly: string | null;
  /** With `{trace_id}` in it; empty for none. */
  readonly traceUrl: string;
}

/** What a report's reasons say, with the next step. */
export interface Told extends Failure {
  readonly isWarning: boolean;
}

export interface Flow {
  readonly report: FlowReport;
  readonly told: readonly Told[];
  /** Rows put into the outbox since the look before, those of transactions that were rolled back included; null where nobody knows. */
  readonly writtenPerSecond: number | null;
  /** WAL that the slot keeps. */
  readonly keptBytes: number | null;
  readonly table: {
    readonly parts: number;
    readonly mostParts: number;
    readonly rows: number;
    readonly bytes: number;
  } | null;
}

export type ChartRange = 'hour' | 'day' | 'week';

/** Series of one value for each step, from `from` on; null where there is none. */
export interface Charts {
  readonly range: ChartRange;
  readonly from: number;
  readonly stepSeconds: number;
  readonly steps: number;
  /** Events by type, the most frequent first; the last one, without a name, is all others. */
  readonly types: readonly { readonly type: string; readonly counts: readonly number[] }[];
  /** From commit to the insert, s. */
  readonly p50: readonly (number | null)[];
  readonly p99: readonly (number | null)[];
  readonly rowsPerInsert: readonly (number | null)[];
  /** Since this console began. */
  readonly parts: readonly (number | null)[];
  readonly keptBytes: readonly (number | null)[];
  readonly sql: readonly string[];
  /** Why there are none of ClickHouse. */
  readonly failure: Failure | null;
}

/** An event in a list. `cursor` continues behind it. */
export interface Listed {
  readonly id: string;
  readonly type: string;
  readonly at: string;
  readonly environment: string;
  readonly subject: string;
  readonly traceId: string;
  readonly source: string;
  readonly lsn: string;
  readonly seq: number;
  readonly bytes: number;
  readonly cursor: string;
}

export interface Found {
  readonly events: readonly Listed[];
  readonly hasMore: boolean;
  readonly sql: string;
  readonly ms: number;
}

/** Keys of a context, and the types that ClickHouse gave them. */
export interface Path {
  readonly path: string;
  readonly type: string;
}

export interface Context {
  /** Its beginning; null where payloads are not shown. */
  readonly text: string | null;
  readonly bytes: number;
  /** As it was typed; null where payloads are not shown, and where the table has no such column. */
  readonly typed: string | null;
  readonly paths: readonly Path[];
}

export interface EventDetail {
  /** All columns but the context. */
  readonly columns: Readonly<Record<string, string>>;
  readonly context: Context;
  /** Of the insert that brought it: the rows that are there, and which of them it is. Null where it cannot be told. */
  readonly batch: {
    readonly rows: number;
    readonly first: string;
    readonly last: string;
    readonly place: number;
  } | null;
  readonly before: Neighbour | null;
  readonly behind: Neighbour | null;
  readonly sql: readonly string[];
}

/** The next event in WAL order. */
export type Neighbour = Pick<Listed, 'id' | 'type' | 'at' | 'source' | 'lsn' | 'seq'>;

export interface QuarantineGroup {
  readonly type: string;
  readonly reason: string;
  readonly count: number;
  /** The first of them. */
  readonly events: readonly { readonly id: string; readonly eventId: string; readonly at: string }[];
  /** Of all of them. */
  readonly ids: readonly string[];
}

export interface Quarantine {
  readonly groups: readonly QuarantineGroup[];
  readonly total: number;
}

export interface QuarantinedEvent {
  readonly columns: Readonly<Record<string, string>>;
  readonly text: string | null;
  readonly bytes: number;
}

export interface Changed {
  readonly outcome: Readonly<Record<string, number>>;
  /** What was not done, and why. */
  readonly lines: readonly string[];
}

export interface Health {
  readonly at: string;
  readonly errors: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
  /** What was not checked, because this console's role may only read. */
  readonly left: readonly string[];
}

export interface Verification {
  readonly id: number;
  readonly from: string;
  readonly startedAt: string;
  readonly seconds: number;
  readonly progress: Progress | null;
  readonly report: VerifyReport | null;
  readonly failure: Failure | null;
}

/** The newest first. */
export type Verifications = readonly Verification[];

export type Settings = readonly Effective[];
