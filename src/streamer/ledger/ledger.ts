import { OutboxError, type ErrorCode } from '../../errors.ts';
import { formatLsn, parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from '../source/database.ts';
import { serverOf } from '../source/server.ts';
import { ledgerStateOf, notWritten, valuesOf, writeIgnored, type LedgerState, type Pending } from './row.ts';
import {
  countQuarantined,
  glanceAtQuarantine,
  isAside,
  isQuarantined,
  putIntoQuarantine,
  type RejectedEvent,
} from './quarantine.ts';
import { publishedName, type Published } from './published.ts';
import { takeOver, type SlotIdentity, type Taken } from './take-over.ts';

const MAX_REFUSAL = 500;

/** What #write has put into the row is there: a trigger may return another row, or the old one. */
const IS_WRITTEN = `(delivered_lsn, delivered_seq, pending_lsn, pending_seq, pending_rows, pending_token, acked_lsn, read_back_below, target)
            IS NOT DISTINCT FROM ($3, $4, $5, $6, $7, $8, $10, $11, $12)`;
/** By which `putIntoQuarantine` refuses. */
const DIVISION_BY_ZERO = '22012';

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
  /** ClickHouse's column of that name. */
  readonly source: string;
  /** What was delivered until then has positions of another server; ms since 1970. */
  readonly movedAtMs: number;
  readonly timeline: number;
  /** The row was written on another timeline. */
  readonly isNewTimeline: boolean;
  /** What is committed from here on is delivered by others; Infinity where nothing is. */
  readonly ends: Lsn;
  /** Where WAL ended when the ledger was taken. */
  readonly takenAt: Lsn;
  #state: LedgerState;
  /** The code of the refusal that the row has. */
  #told: ErrorCode | undefined;
  /** What a proof tells everybody. */
  published: Published = { appliedLsn: 0, oldestMs: undefined };
  /** When the epoch was last known to be ours, by performance.now(). */
  #provenAt: number;

  private constructor(db: Database, slot: string, row: Taken, provenAt: number) {
    this.isNewTimeline = row.is_new_timeline === true;
    this.takenAt = parseLsn(row.wal_end);
    this.ends = row.ends_lsn === null ? Infinity : parseLsn(row.ends_lsn);
    this.#provenAt = provenAt;
    this.#db = db;
    this.#slot = slot;
    this.epoch = row.epoch;
    this.source = row.source;
    this.movedAtMs = row.moved_at?.getTime() ?? 0;
    this.timeline = row.timeline;
    this.#state = ledgerStateOf(row);
  }

  /** See takeOver. */
  static async take(db: Database, slot: string, identity: SlotIdentity): Promise<Ledger> {
    const provenAt = performance.now();
    return new Ledger(db, slot, await takeOver(db, slot, identity), provenAt);
  }

  get state(): LedgerState {
    return this.#state;
  }

  get provenAt(): number {
    return this.#provenAt;
  }

  /** Settles the pending insert, which ClickHouse has answered, and records the next one: one durable UPDATE. */
  async intend(next: Pending, ackable: Lsn): Promise<void> {
    await this.#write({ ...this.#settled(ackable), pending: next });
  }

  /** Settles the pending insert, which ClickHouse has answered, without another to follow. */
  async settle(ackable: Lsn): Promise<void> {
    await this.#write({ ...this.#settled(ackable), pending: undefined });
  }

  /** Allows acknowledgements up to an LSN, where nothing is pending that a settle could carry it with. */
  async allowAck(ackable: Lsn): Promise<void> {
    if (ackable > this.#state.acked) await this.#write({ ...this.#state, acked: ackable });
  }

  /**
   * Replaces the pending insert, which ClickHouse rejected permanently, by its first rows. The larger insert must never be sent
   * again. Where rows behind the first ones may be there, they must be read back.
   */
  async split(part: Pending, readBackBelow: Lsn): Promise<void> {
    await this.#write({
      ...this.#state,
      pending: part,
      readBackBelow: Math.max(this.#state.readBackBelow, readBackBelow),
    });
  }

  /**
   * Puts the pending insert, which is a single row that ClickHouse rejected permanently, into quarantine: one durable statement
   * (invariant 7). Returns where WAL ended after it.
   */
  async quarantine(event: RejectedEvent): Promise<Lsn> {
    await this.#write(this.#settled(0), event);
    return (await serverOf(this.#db)).walEnd;
  }

  /** Batches that begin below an LSN are to be read back before they are sent, also by whoever comes next. */
  async readBackUpTo(lsn: Lsn): Promise<void> {
    if (lsn > this.#state.readBackBelow) await this.#write({ ...this.#state, readBackBelow: lsn });
  }

  /** Another table has the name, or its server another version, or it is the first: what is pending must be looked for in it, also by whoever comes next. */
  async deliverInto(target: string): Promise<void> {
    const { pending, readBackBelow } = this.#state;
    const below = pending === undefined ? 0 : pending.to.lsn + 1;
    await this.#write({ ...this.#state, target, readBackBelow: Math.max(readBackBelow, below) });
  }

  /** What was sent before its turn was refused: less is to be read back. */
  async readBackDownTo(lsn: Lsn): Promise<void> {
    if (lsn < this.#state.readBackBelow) await this.#write({ ...this.#state, readBackBelow: lsn });
  }

  /**
   * Declares that what the row says may be older than what was delivered: the pending insert is forgotten, and all that
   * is in WAL so far, or stands up to `lastLsn` in ClickHouse, is read back before it is sent.
   */
  async distrust(lastLsn: Lsn): Promise<void> {
    const { walEnd } = await serverOf(this.#db);
    await this.#write({ ...this.#state, pending: undefined, readBackBelow: Math.max(walEnd, lastLsn + 1) });
  }

  /** Tells whoever reads the ledger why ClickHouse does not take events, or with undefined that it does: when that changes. */
  async tellRefusal(error: OutboxError | undefined): Promise<void> {
    if (error?.code === this.#told) return;
    this.#told = error?.code;
    const said = error === undefined ? null : `${error.code}: ${error.message}`.slice(0, MAX_REFUSAL);
    await this.#db.query(
      `UPDATE outbox.stream SET refused = $3, refused_at = CASE WHEN $3::text IS NOT NULL THEN coalesce(refused_at, now()) END
        WHERE slot_name = $1 AND epoch = $2`,
      [this.#slot, this.epoch, said],
    );
  }

  /** Whether an event at or behind an LSN is in quarantine. */
  async isQuarantined(from: Lsn): Promise<boolean> {
    return isQuarantined(this.#db, this.#slot, from);
  }

  /** See there. */
  async isAside(from: Lsn): Promise<boolean> {
    return isAside(this.#db, this.#slot, from);
  }

  /** How many events of this slot are in quarantine. */
  async quarantined(): Promise<number> {
    return countQuarantined(this.#db, this.#slot);
  }

  /** The same for statistics: it fails where it would hold up the ledger's next write. */
  async glanceAtQuarantine(): Promise<number> {
    return glanceAtQuarantine(this.#db, this.#slot);
  }

  /** Throws OUTBOX_EPOCH_LOST when another streamer has taken over. Reads only: an idle stream writes no WAL. */
  async prove(): Promise<void> {
    const asked = performance.now();
    const { count } = await this.#db.query(
      "SELECT set_config('application_name', $3, false) FROM outbox.stream WHERE slot_name = $1 AND epoch = $2",
      [this.#slot, this.epoch, publishedName(this.published)],
    );
    if (count === 0) throw new OutboxError('OUTBOX_EPOCH_LOST');
    this.#provenAt = asked;
  }

  #settled(ackable: Lsn): LedgerState {
    const { delivered, pending, acked, readBackBelow, target } = this.#state;
    const reached = pending?.to ?? delivered;
    return {
      delivered: reached,
      pending: undefined,
      acked: Math.max(acked, ackable),
      readBackBelow: reached.lsn >= readBackBelow ? 0 : readBackBelow,
      target,
    };
  }

  /** With an event for the quarantine, both happen or neither. */
  async #write(next: LedgerState, rejected?: RejectedEvent): Promise<void> {
    const was = this.#state;
    const asked = performance.now();
    const values: unknown[] = [
      this.#slot,
      this.epoch,
      ...valuesOf(next),
      formatLsn(was.delivered.lsn),
      was.delivered.seq,
      was.pending === undefined ? null : formatLsn(was.pending.to.lsn),
      was.pending?.to.seq ?? null,
    ];
    const update = `UPDATE outbox.stream
          SET delivered_lsn = $3, delivered_seq = $4,
              pending_lsn = $5, pending_seq = $6, pending_rows = $7, pending_token = $8,
              pending_at = $9, acked_lsn = $10, read_back_below = $11, target = $12
        WHERE slot_name = $1 AND epoch = $2
          AND delivered_lsn = $13 AND delivered_seq = $14
          AND pending_lsn IS NOT DISTINCT FROM $15 AND pending_seq IS NOT DISTINCT FROM $16`;
    const rows =
      rejected === undefined
        ? (await this.#db.query<{ written: boolean }>(`${update} RETURNING ${IS_WRITTEN} AS written`, values)).rows
        : await this.#quarantine(`${update} RETURNING slot_name, ${IS_WRITTEN} AS written`, rejected, values);
    if (rows.length === 0) throw await notWritten(this.#db, this.#slot, this.epoch);
    if (!rows[0]!.written) throw writeIgnored(this.#db, 'stream');
    this.#state = next;
    this.#provenAt = asked;
  }

  async #quarantine(update: string, rejected: RejectedEvent, values: unknown[]): Promise<{ written: boolean }[]> {
    try {
      return await putIntoQuarantine(this.#db, update, rejected, values);
    } catch (error) {
      const isRefused = error instanceof OutboxError && error.sqlState === DIVISION_BY_ZERO;
      throw isRefused ? writeIgnored(this.#db, 'quarantine') : error;
    }
  }
}
