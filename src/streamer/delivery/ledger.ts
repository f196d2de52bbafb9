import { OutboxError } from '../../errors.ts';
import { formatLsn, parseLsn } from '../../lsn.ts';
import type { Lsn } from '../../lsn.ts';
import type { Database } from '../postgres.ts';
import type { Position } from './position.ts';

/** An insert that may be under way: rows of the range (delivered, to]. */
export interface Pending {
  readonly to: Position;
  readonly rows: number;
  readonly token: string;
  /** The intent's time, ms since 1970. */
  readonly atMs: number;
}

export interface LedgerState {
  readonly delivered: Position;
  readonly pending: Pending | undefined;
}

/** Which server this is, as IDENTIFY_SYSTEM says. */
export interface SystemIdentity {
  readonly systemId: string;
  readonly timeline: number;
}

interface Row {
  epoch: string;
  timeline: number | null;
  publication: string | null;
  delivered_lsn: string;
  delivered_seq: string;
  pending_lsn: string | null;
  pending_seq: string | null;
  pending_rows: number | null;
  pending_token: string | null;
  pending_at: Date | null;
  read_back_below: string | null;
}

/**
 * The row of outbox.stream that says how far ClickHouse has the events, and which insert may be under way (invariants 3
 * and 5). Its connection must have synchronous_commit=on: an intent that a crash forgets doubles rows.
 *
 * Every write names the epoch and what was last written. A write whose answer is lost is never repeated: its outcome is
 * unknown, and only a new epoch makes it harmless.
 */
export class Ledger {
  readonly #db: Database;
  readonly #slot: string;
  readonly epoch: string;
  #state: LedgerState;

  private constructor(db: Database, slot: string, epoch: string, state: LedgerState) {
    this.#db = db;
    this.#slot = slot;
    this.epoch = epoch;
    this.#state = state;
  }

  /**
   * Takes the ledger over with a new epoch: whoever held it before can write no intent any more. To be called only while
   * holding the slot. The row is what the UPDATE itself returns: a row read before it could be older than a write of the
   * former holder.
   *
   * Throws OUTBOX_PG_NOT_MIGRATED, OUTBOX_SYSTEM_CHANGED, OUTBOX_TIMELINE_CHANGED, OUTBOX_PUBLICATION_CHANGED,
   * OUTBOX_POSITION_BEYOND_WAL.
   */
  static async take(db: Database, slot: string, system: SystemIdentity, publication: string): Promise<Ledger> {
    const { rows } = await db.query<Row>(
      `UPDATE outbox.stream
          SET epoch = epoch + 1, timeline = coalesce(timeline, $3), publication = coalesce(publication, $4)
        WHERE slot_name = $1 AND system_id = $2
        RETURNING epoch, timeline, publication, delivered_lsn, delivered_seq,
                  pending_lsn, pending_seq, pending_rows, pending_token, pending_at, read_back_below`,
      [slot, system.systemId, system.timeline, publication],
    );
    const row = rows[0];
    if (row === undefined) throw await missing(db, slot);
    // asked here, not of the replication connection: behind a proxy that may be another server
    const server = await serverOf(db);
    if (row.timeline !== system.timeline || row.timeline !== server.timeline || row.read_back_below !== null) {
      throw new OutboxError('OUTBOX_TIMELINE_CHANGED', {
        detail: `the ledger was written on timeline ${row.timeline}, the server is on ${server.timeline}, the walsender on ${system.timeline}`,
      });
    }
    if (row.publication !== publication) throw new OutboxError('OUTBOX_PUBLICATION_CHANGED');
    const state = stateOf(row);
    const reached = state.pending?.to.lsn ?? state.delivered.lsn;
    if (reached > server.walEnd) {
      throw new OutboxError('OUTBOX_POSITION_BEYOND_WAL', {
        detail: `the ledger is at ${formatLsn(reached)}, the server’s WAL ends at ${formatLsn(server.walEnd)}`,
      });
    }
    return new Ledger(db, slot, row.epoch, state);
  }

  get state(): LedgerState {
    return this.#state;
  }

  /** Settles the pending insert, which ClickHouse has answered, and records the next one: one durable UPDATE. */
  async intend(next: Pending): Promise<void> {
    await this.#write({ delivered: this.#state.pending?.to ?? this.#state.delivered, pending: next });
  }

  /** Settles the pending insert, which ClickHouse has answered, without another to follow. */
  async settle(): Promise<void> {
    await this.#write({ delivered: this.#state.pending?.to ?? this.#state.delivered, pending: undefined });
  }

  /** Throws OUTBOX_EPOCH_LOST when another streamer has taken over. Reads only: an idle stream writes no WAL. */
  async prove(): Promise<void> {
    const { count } = await this.#db.query('SELECT FROM outbox.stream WHERE slot_name = $1 AND epoch = $2', [
      this.#slot,
      this.epoch,
    ]);
    if (count === 0) throw new OutboxError('OUTBOX_EPOCH_LOST');
  }

  async #write(next: LedgerState): Promise<void> {
    const was = this.#state;
    const { count } = await this.#db.query(
      `UPDATE outbox.stream
          SET delivered_lsn = $3, delivered_seq = $4,
              pending_lsn = $5, pending_seq = $6, pending_rows = $7, pending_token = $8, pending_at = $9
        WHERE slot_name = $1 AND epoch = $2
          AND delivered_lsn = $10 AND delivered_seq = $11
          AND pending_lsn IS NOT DISTINCT FROM $12 AND pending_seq IS NOT DISTINCT FROM $13`,
      [
        this.#slot,
        this.epoch,
        formatLsn(next.delivered.lsn),
        next.delivered.seq,
        next.pending === undefined ? null : formatLsn(next.pending.to.lsn),
        next.pending?.to.seq ?? null,
        next.pending?.rows ?? null,
        next.pending?.token ?? null,
        next.pending === undefined ? null : new Date(next.pending.atMs),
        formatLsn(was.delivered.lsn),
        was.delivered.seq,
        was.pending === undefined ? null : formatLsn(was.pending.to.lsn),
        was.pending?.to.seq ?? null,
      ],
    );
    if (count !== 1) throw new OutboxError('OUTBOX_EPOCH_LOST');
    this.#state = next;
  }
}

function stateOf(row: Row): LedgerState {
  const { pending_lsn: lsn, pending_seq: seq, pending_rows: rows, pending_token: token, pending_at: at } = row;
  return {
    delivered: { lsn: parseLsn(row.delivered_lsn), seq: Number(row.delivered_seq) },
    pending:
      lsn === null || seq === null || rows === null || token === null || at === null
        ? undefined
        : { to: { lsn: parseLsn(lsn), seq: Number(seq) }, rows, token, atMs: at.getTime() },
  };
}

async function serverOf(db: Database): Promise<{ timeline: number; walEnd: Lsn }> {
  // the name of a WAL file begins with the timeline, in hexadecimal
  const { rows } = await db.query<{ file: string; lsn: string }>(
    'SELECT pg_walfile_name(pg_current_wal_lsn()) AS file, pg_current_wal_flush_lsn() AS lsn',
  );
  return { timeline: Number.parseInt(rows[0]!.file.slice(0, 8), 16), walEnd: parseLsn(rows[0]!.lsn) };
}

async function missing(db: Database, slot: string): Promise<OutboxError> {
  const { count } = await db.query('SELECT FROM outbox.stream WHERE slot_name = $1', [slot]);
  if (count === 0)
    return new OutboxError('OUTBOX_PG_NOT_MIGRATED', { detail: `outbox.stream has no row for the slot "${slot}"` });
  return new OutboxError('OUTBOX_SYSTEM_CHANGED');
}
