import { newBatch, tokenOf } from './batch.ts';
import { settled, write } from './ledger.ts';
import { outlast } from './plan.ts';
import type { Steps } from './plan.ts';
import { ANSWERED, lsnOf, nameOf, REFUSED, UNSENT } from './state.ts';
import type { Batch, EventId, Insert, State, Streamer } from './state.ts';

/** Refused inserts: is it a row's fault, and may the batch be split? */
export function isolate(steps: Steps, i: number, batch: Batch): void {
  const { world } = steps;
  const refused = batch.inserts.flatMap((own, index) => (own.state === REFUSED ? [index] : []));
  const final = refused.filter((index) => isFinal(steps, i, batch.inserts[index]!, index));
  if (final.length === 0) return;
  const isOver = batch.inserts.every(({ state }, index) => state === ANSWERED || final.includes(index));
  if (batch.inserts.length > 1) {
    if (isOver || world.without('splitBesideOthers')) splitOff(steps, i, batch);
  } else if (batch.rows.length > 1) recut(steps, i, batch, batch.inserts[0]!);
  else quarantine(steps, i, batch);
}

/** Otherwise what is to be done about it first. */
function isFinal(steps: Steps, i: number, own: Insert, index: number): boolean {
  const { s, world } = steps;
  if (!own.lone && !world.without('splitUnwaited')) {
    if (s.attempts.length > 0) return false;
    steps.add(`${nameOf(i)} quiet: older attempts are over, asks once more`, (d) => {
      if (!world.without('noDeadline')) outlast(d);
      const mine = d.streamers[i]!.batch!.inserts[index]!;
      mine.state = UNSENT;
      mine.lone = true;
    });
    return false;
  }
  const looked = world.without('splitOnlyIfRangeAbsent') ? own.rows : own.send;
  const isThere = looked.some((event) => s.table[event]! > 0) && !world.without('splitAlthoughThere');
  if (!isThere && (own.rows.length > 1 || !own.heavy || world.without('quarantineHeavy'))) return true;
  steps.add(`${nameOf(i)} repeats the refused insert`, (d) => {
    const mine = d.streamers[i]!.batch!.inserts[index]!;
    mine.state = UNSENT;
    mine.viewFailed = isThere;
  });
  return false;
}

/** Ledger.recut: of several inserts the first alone is pending. The others are cut again, and those that are there read back. */
function splitOff(steps: Steps, i: number, batch: Batch): void {
  const { world } = steps;
  const { row, cut, done } = steps.s.streamers[i]!;
  const [first, ...others] = batch.inserts;
  const { rows, token } = first!;
  const isPartlyThere = others.some(({ state, send, rows: all }) => state === ANSWERED || send.length < all.length);
  const readBackBelow =
    isPartlyThere && !world.without('splitForgetsOthers')
      ? Math.max(row.readBackBelow, lsnOf(batch.to) + 1)
      : row.readBackBelow;
  const to = world.positionOf(steps.s, rows.at(-1)!);
  const { delivered, acked } = row;
  const pending = { to, token, rows, inserts: 1, old: first!.old };
  write(steps, i, 'recut: the first insert', { delivered, acked, readBackBelow, pending }, (_, mine) => {
    mine.batch = { to, token, rows, inserts: [{ ...first! }] };
    mine.cut = Math.min(cut, to);
    mine.done = [...done, ...others.flatMap(({ state, rows: all }) => (state === ANSWERED ? all : []))];
    mine.absent = absentOf(others);
  });
}

/** Of what was refused: where a read-back has found some rows, they are there under other tokens. */
function absentOf(inserts: readonly Insert[]): EventId[] {
  return inserts.flatMap(({ state, send, rows }) => (state === REFUSED && send.length === rows.length ? rows : []));
}

/** Ledger.recut: pending shrinks to its left half. */
function recut(steps: Steps, i: number, batch: Batch, { send }: Insert): void {
  const { s, world } = steps;
  const { row, cut } = s.streamers[i]!;
  const rows = batch.rows.slice(0, batch.rows.length >> 1);
  const to = world.positionOf(s, rows.at(-1)!);
  const token = tokenOf(steps, row.delivered, to);
  const wasPartlyThere = send.length < batch.rows.length && !world.without('splitForgetsReadBack');
  const readBackBelow = wasPartlyThere ? Math.max(row.readBackBelow, lsnOf(batch.to) + 1) : row.readBackBelow;
  const pending = { to, token, rows, inserts: 1, old: false };
  const then = (_: State, mine: Streamer): void => {
    if (!wasPartlyThere) mine.absent = [...new Set([...mine.absent, ...batch.rows])].toSorted((a, b) => a - b);
    mine.batch = newBatch(steps, mine, pending, false);
    mine.cut = Math.min(cut, to);
  };
  if (world.without('splitInMemory')) {
    steps.add(`${nameOf(i)} splits in memory`, (d) => then(d, d.streamers[i]!));
    return;
  }
  const { delivered, acked } = row;
  write(steps, i, 'recut', { delivered, acked, readBackBelow, pending }, then);
}

/** Ledger.quarantine: the row, and delivered past it, in one statement. */
function quarantine(steps: Steps, i: number, { rows, inserts }: Batch): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const event = rows[0]!;
  const own = settled(steps, { ...me, batch: { ...me.batch!, inserts: [] } });
  const isFree = world.without('ackPastQuarantine');
  const set = { ...own, acked: isFree ? own.acked : me.row.acked, pending: undefined };
  const then = (_: State, mine: Streamer): void => {
    mine.batch = undefined;
    mine.held = !isFree;
  };
  if (!world.without('quarantineInTwo')) write(steps, i, 'quarantine', { ...set, quarantined: event }, then);
  else if (s.quarantine.includes(event)) write(steps, i, 'quarantine: passes the row', set, then);
  else if (inserts[0]!.state === REFUSED) {
    steps.add(`${nameOf(i)} quarantine: sets the row aside`, (d) => {
      if (me.mine) d.quarantine.push(event);
    });
  }
}
