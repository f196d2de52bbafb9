import { OutboxError } from '../../errors.ts';
import { parseLsn, type Lsn } from '../../lsn.ts';
import { filterOf, outboxOf, shareOf, shareText, slotsOf } from '../share.ts';
import type { Database } from '../source/database.ts';
import { knownAs, noLedger, type KnownAs } from './row.ts';

/** A row of the ledger, as one of those that together deliver an outbox. */
export interface ShareRow {
  readonly slot: string;
  /** How many shares there are with it: 1 where it delivers all events. */
  readonly count: number;
  /** Other shares deliver what is committed from here on: `reshard` has begun. */
  readonly ends: Lsn | undefined;
  /** They deliver permanently. Before that, `reshard` may still take the end back. */
  readonly isReplaced: boolean;
}

/** All rows of the outbox that a slot belongs to: one, those of its shares, or while they are changed those of both. */
export async function sharesOf(db: Database, slot: string): Promise<ShareRow[]> {
  const { rows } = await db.query<{ slot: string; ends: string | null; replaced: boolean }>(
    `SELECT slot_name AS slot, ends_lsn AS ends, ends_in IS NOT NULL AS replaced FROM outbox.stream
      WHERE slot_name = $1 OR slot_name ~ ('^' || $1 || '_[0-9]+_of_[0-9]+$')
      ORDER BY length(slot_name), slot_name`,
    [outboxOf(slot)],
  );
  return rows.map(({ slot: name, ends, replaced }) => ({
    slot: name,
    count: shareOf(name)?.count ?? 1,
    ends: ends === null ? undefined : parseLsn(ends),
    isReplaced: replaced,
  }));
}

/**
 * Makes sure that no other number of shares delivers the same outbox: events would be in two of them. What has an end beside them
 * still delivers what comes before it. Throws OUTBOX_SHARD_DIFFERS.
 */
export async function refuseOtherShares(db: Database, slot: string): Promise<void> {
  const rows = await sharesOf(db, slot);
  if (rows.some((row) => row.slot === slot && row.ends !== undefined)) return;
  const count = shareOf(slot)?.count ?? 1;
  const others = rows.filter((row) => row.count !== count && !row.isReplaced);
  if (others.length === 0) return;
  const names = others.map((row) => `"${row.slot}"`).join(', ');
  throw new OutboxError('OUTBOX_SHARD_DIFFERS', {
    detail: `the slot "${slot}" would deliver ${shareText(slot)}, which ${names} ${others.length === 1 ? 'delivers' : 'deliver'}`,
  });
}

/** Which slots of an outbox have no row, although others of as many shares have one: their events are in no stream. */
export async function missingShares(db: Database): Promise<string[]> {
  const { rows } = await db.query<{ slot: string }>(
    "SELECT slot_name AS slot FROM outbox.stream WHERE slot_name ~ '_[0-9]+_of_[0-9]+$' AND ends_in IS NULL",
  );
  const there = new Set(rows.map(({ slot }) => slot));
  const wanted = new Set([...there].flatMap((slot) => slotsOf(outboxOf(slot), shareOf(slot)!.count)));
  return [...wanted].filter((slot) => !there.has(slot));
}

/** Where a slot's part of WAL begins and ends, see handOver; null where it does not. */
interface Boundaries {
  readonly begins: string | null;
  readonly begins_at: string | null;
  readonly begins_lsn: string | null;
  readonly ends: string | null;
  readonly ends_at: string | null;
  readonly ends_lsn: string | null;
}

async function boundariesOf(db: Database, slot: string): Promise<Boundaries> {
  const { rows } = await db.query<Boundaries>(
    `SELECT begins_in::text AS begins, begins_at::text, begins_lsn::text, ends_in::text AS ends, ends_at::text, ends_lsn::text
       FROM outbox.stream WHERE slot_name = $1`,
    [slot],
  );
  const [row] = rows;
  if (row === undefined) throw noLedger(db, slot);
  return row;
}

/**
 * Which rows of outbox.event a slot delivers, as a condition on their columns: those of its share, committed while it was one of the
 * outbox's. Empty where that is all.
 */
export async function partOf(db: Database, slot: string): Promise<string> {
  return partWithin(slot, await boundariesOf(db, slot));
}

function partWithin(slot: string, boundaries: Boundaries): string {
  return [...shareWithin(slot), ...timesWithin(boundaries)].join(' AND ');
}

/** Of its share, what other slots deliver: those before a boundary or behind one. Empty where there is none. */
function ofOtherTimes(slot: string, boundaries: Boundaries): string {
  const times = timesWithin(boundaries);
  return times.length === 0 ? '' : [...shareWithin(slot), `NOT (${times.join(' AND ')})`].join(' AND ');
}

function shareWithin(slot: string): string[] {
  const share = shareOf(slot);
  return share === undefined ? [] : [filterOf(share)];
}

function timesWithin({ begins, begins_at: beginsAt, ends, ends_at: endsAt }: Boundaries): string[] {
  return [
    ...(begins !== null && beginsAt !== null ? [`NOT (${isSeen(begins, beginsAt)})`] : []),
    ...(ends !== null && endsAt !== null ? [isSeen(ends, endsAt)] : []),
  ];
}

/** What of outbox.event is compared with which rows of ClickHouse. */
export interface Scope extends KnownAs {
  readonly slots: readonly string[];
  /** See partOf. */
  readonly part: string;
  /** A condition like it: of the same share, what is left out because other slots deliver it, before or after `reshard`. */
  readonly formers: string;
  /** See begins_lsn. */
  readonly since: Lsn;
  /** Rows of all shares: their sources are called like `source`, with more behind it. */
  readonly isWhole: boolean;
}

/**
 * Of a slot; of an outbox that is delivered in shares, without one of them: all of it. Throws what knownAs throws.
 *
 * @param withFormers all of it anyway, with what former shares have delivered
 */
export async function scopeOf(db: Database, slot: string, withFormers = false): Promise<Scope> {
  const shares = await sharesOf(db, slot);
  const isShared = shareOf(slot) === undefined && shares.some(({ count, isReplaced }) => count > 1 && !isReplaced);
  const isWhole = isShared || withFormers;
  if (!isWhole) return scopeOfSlot(db, slot);
  if (shares.length === 0) throw noLedger(db, slot);
  const slots = shares.map((share) => share.slot);
  const known = await Promise.all(slots.map(async (each) => knownAs(db, each)));
  const movedAtMs = Math.max(...known.map((one) => one.movedAtMs));
  return { source: outboxOf(known[0]!.source), movedAtMs, slots, part: '', formers: '', since: 0, isWhole };
}

/** Of one slot alone. Throws what knownAs throws, unless it is given. */
export async function scopeOfSlot(db: Database, slot: string, known?: KnownAs): Promise<Scope> {
  const { source, movedAtMs } = known ?? (await knownAs(db, slot));
  const boundaries = await boundariesOf(db, slot);
  const since = boundaries.begins_lsn === null ? 0 : parseLsn(boundaries.begins_lsn);
  const [part, formers] = [partWithin(slot, boundaries), ofOtherTimes(slot, boundaries)];
  return { source, movedAtMs, slots: [slot], part, formers, since, isWhole: false };
}

/**
 * Before a stream goes to another server, where numbers of transactions mean others: makes sure that every row of outbox.event can be
 * told by its time from those of other shares. Throws OUTBOX_DETACH_RESHARDED.
 */
export async function refuseDoubtfulShares(db: Database, slot: string): Promise<void> {
  const { begins_at: at, ends_lsn: ends } = await boundariesOf(db, slot);
  if (ends !== null) throw new OutboxError('OUTBOX_DETACH_RESHARDED', { detail: 'the shares are being changed' });
  if (at === null) return;
  const { count } = await db.query(`SELECT FROM outbox.event WHERE ${isNear(at)} LIMIT 1`);
  if (count > 0)
    throw new OutboxError('OUTBOX_DETACH_RESHARDED', {
      detail: `${db.schema}.event still has events that were emitted while the shares were changed`,
    });
}

const XIDS = 2n ** 32n;

/** A slot that is made waits for all transactions that were begun before: none of these was open for longer at the boundary. */
const BEFORE = "interval '10 minutes'";

/** Whether a row's time alone does not say on which side of a boundary it was committed. */
function isNear(at: string): string {
  return `(recorded_at < '${at}' AND recorded_at >= timestamptz '${at}' - ${BEFORE})`;
}

/**
 * Whether a row was committed before a boundary, which a snapshot and its time tell. The time alone tells nearly all: rows have only the
 * lower half of a transaction's number, which is taken for the one that is nearest to the snapshot's, and another server counts from its own first one.
 */
function isSeen(snapshot: string, at: string): string {
  const end = BigInt(snapshot.split(':')[1]!);
  // never negative, so that the remainder is not
  const shift = (end / XIDS + 1n) * XIDS + XIDS / 2n - end;
  const xid = `greatest(${end} - ${XIDS / 2n} + (xmin::text::bigint + ${shift}) % ${XIDS}, 3)`;
  return `CASE WHEN ${isNear(at)} THEN pg_visible_in_snapshot((${xid})::text::xid8, '${snapshot}') ELSE recorded_at < '${at}' END`;
}
