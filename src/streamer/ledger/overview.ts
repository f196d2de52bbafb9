import { ERRORS, OutboxError, type ErrorCode } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import type { Position } from '../../position.ts';
import type { Database } from '../source/database.ts';
import { SERVER_TIMELINE, severalRows } from './row.ts';

/** What the ledger says of a slot, to whoever only reads it: commands and retention. */
export interface LedgerOverview {
  readonly slot: string;
  /** As in ClickHouse's column of that name. */
  readonly source: string;
  /** See KnownAs. */
  readonly movedAtMs: number;
  /** The row was written for the server that was asked. */
  readonly isOfThisSystem: boolean;
  /** Undefined until a streamer has taken the ledger. */
  readonly timeline: number | undefined;
  /** The timeline of the server that was asked. */
  readonly serverTimeline: number;
  readonly publication: string | undefined;
  /** No flush LSN beyond it was ever reported to Postgres. */
  readonly acked: Lsn | undefined;
  readonly delivered: Position;
  /** The insert that may be under way, and when it was intended, in ms since 1970. */
  readonly pending: { readonly lsn: Lsn; readonly rows: number; readonly sinceMs: number } | undefined;
  /** The last word of ClickHouse against the stream, and since when it refuses, in ms since 1970. */
  readonly refusal: { readonly said: string; readonly sinceMs: number } | undefined;
  /** What was written before a failover, or a restored backup, is looked for in ClickHouse before it is sent. */
  readonly isReadingBack: boolean;
  readonly isRepairing: boolean;
  /** `detach` has ended this stream, until a repair. */
  readonly isDetached: boolean;
  /** Events of this slot in quarantine, without those that were discarded. */
  readonly quarantined: number;
  readonly walEnd: Lsn;
}

interface Row {
  slot_name: string;
  source: string;
  moved_at: Date | null;
  same_system: boolean;
  timeline: number | null;
  server_timeline: number;
  publication: string | null;
  acked_lsn: string | null;
  delivered_lsn: string;
  delivered_seq: string;
  pending_lsn: string | null;
  pending_rows: number | null;
  pending_at: Date | null;
  refused: string | null;
  refused_at: Date | null;
  reading_back: boolean;
  repairing: boolean;
  detached: boolean;
  quarantined: number;
  wal_end: string;
}

/** Undefined when the slot has no ledger. Throws OutboxErrors OUTBOX_PG_*; OUTBOX_PG_TABLE_UNSUITABLE where it has several rows. */
export async function overviewOf(db: Database, slot: string): Promise<LedgerOverview | undefined> {
  const [row, another] = await overviews(db, slot);
  if (another !== undefined) throw severalRows(slot);
  return row;
}

/** What ClickHouse refused last, as the streamer wrote it down; undefined where another version did, whose code is not known. */
export function refusalOf({ refusal }: Pick<LedgerOverview, 'refusal'>): OutboxError | undefined {
  const [code = '', ...rest] = refusal?.said.split(': ') ?? [];
  return Object.hasOwn(ERRORS, code) ? new OutboxError(code as ErrorCode, { detail: rest.join(': ') }) : undefined;
}

/** Of all slots, or of one, by their names. Throws OutboxErrors OUTBOX_PG_*. */
export async function overviews(db: Database, slot?: string): Promise<LedgerOverview[]> {
  const { rows } = await db.query<Row>(
    `SELECT l.slot_name, source, moved_at, system_id = (SELECT system_identifier FROM pg_control_system())::text AS same_system,
            timeline, ${SERVER_TIMELINE} AS server_timeline,
            publication, acked_lsn, delivered_lsn, delivered_seq, pending_lsn, pending_rows, pending_at,
            refused, refused_at, read_back_below IS NOT NULL AS reading_back, repair_began_at IS NOT NULL AS repairing,
            detached_at IS NOT NULL AS detached,
            (SELECT count(*)::int FROM outbox.quarantine q WHERE q.slot_name = l.slot_name AND discarded_at IS NULL) AS quarantined,
            pg_current_wal_lsn() AS wal_end
       FROM outbox.stream l WHERE $1::text IS NULL OR l.slot_name = $1 ORDER BY l.slot_name`,
    [slot ?? null],
  );
  return rows.map((row) => ({
    slot: row.slot_name,
    source: row.source,
    movedAtMs: row.moved_at?.getTime() ?? 0,
    isOfThisSystem: row.same_system,
    timeline: row.timeline ?? undefined,
    serverTimeline: row.server_timeline,
    publication: row.publication ?? undefined,
    acked: row.acked_lsn === null ? undefined : parseLsn(row.acked_lsn),
    delivered: { lsn: parseLsn(row.delivered_lsn), seq: Number(row.delivered_seq) },
    pending:
      row.pending_lsn === null || row.pending_rows === null || row.pending_at === null
        ? undefined
        : { lsn: parseLsn(row.pending_lsn), rows: row.pending_rows, sinceMs: row.pending_at.getTime() },
    refusal:
      row.refused === null || row.refused_at === null
        ? undefined
        : { said: row.refused, sinceMs: row.refused_at.getTime() },
    isReadingBack: row.reading_back,
    isRepairing: row.repairing,
    isDetached: row.detached,
    quarantined: row.quarantined,
    walEnd: parseLsn(row.wal_end),
  }));
}
