import { mustReadBack, newBatch, tokenOf } from './batch.ts';
import { attemptOf, isBehind, isFound } from './clickhouse.ts';
import { canWrite, settled, write } from './ledger.ts';
import { freshToken, outlast, type Steps } from './plan.ts';
import {
  ANSWERED,
  LASTING,
  lsnOf,
  nameOf,
  REFUSED,
  startOf,
  UNSENT,
  type Batch,
  type State,
  type Streamer,
} from './state.ts';

/** A refused batch: is it a row's fault, and may it be split? */
export function isolate(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  if (!batch.lone && !world.without('splitUnwaited')) {
    if (s.attempts.length > 0) return;
    steps.add(`${nameOf(i)} quiet: older attempts are over, asks once more`, (d) => {
      if (!world.without('noDeadline')) outlast(d);
      const mine = d.streamers[i]!.batch!;
      mine.state = UNSENT;
      mine.lone = true;
    });
    return;
  }
  if (isBehind(steps)) return;
  const looked = world.without('splitOnlyIfRangeAbsent') ? batch.rows : batch.send;
  const isThere = looked.some((event) => isFound(steps, event)) && !world.without('splitAlthoughThere');
  const isPassing = batch.heavyTimes < LASTING || world.without('repeatHeavyForEver');
  if (isThere || (batch.rows.length === 1 && batch.heavy && isPassing && !world.without('quarantineHeavy'))) {
    steps.add(`${nameOf(i)} repeats the refused insert`, (d) => {
      const mine = d.streamers[i]!.batch!;
      mine.state = UNSENT;
      mine.viewFailed = isThere;
    });
    return;
  }
  const { vouchedFor } = s.streamers[i]!;
  if (batch.rows.length > 1) split(steps, i, batch);
  else if (vouchedFor > 0 || world.without('quarantineUnwitnessed')) quarantine(steps, i, batch);
  else sendAhead(steps, i, batch);
}

/** Ledger.readBackDownTo: what went ahead was refused, so it need not be looked for. */
export function nothingWentAhead(steps: Steps, i: number): void {
  const { s, world } = steps;
  const { ahead, readBackBefore, row } = s.streamers[i]!;
  const isAnswered = ahead === undefined || world.without('aheadForgotten');
  if (readBackBefore === undefined || !isAnswered || row.readBackBelow <= readBackBefore) return;
  const { delivered, acked, pending } = row;
  const set = { delivered, acked, pending, readBackBelow: readBackBefore };
  write(steps, i, 'readBackDownTo: nothing went ahead', set, (_, mine) => {
    mine.readBackBefore = undefined;
  });
}

/** Neighbours: does the table take a later event, or is it the table that is at fault? */
function sendAhead(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  if (me.ahead !== undefined) {
    const event = me.ahead;
    if (s.attempts.some(({ owner, ahead }) => owner === i && ahead) || !(me.proven || (me.mine && canWrite(me))))
      return;
    steps.add(
      `${nameOf(i)} insert ahead`,
      (d) => {
        d.attempts.push(attemptOf(steps, i, freshToken(d), [event], true));
      },
      () => `[${event}]`,
    );
    return;
  }
  steps.add(`${nameOf(i)} repeats the refused insert`, (d) => {
    d.streamers[i]!.batch!.state = UNSENT;
  });
  // an event that was sent ahead before may be there, or still on its way
  if (s.attempts.length > 0 && !world.without('aheadUnwaited')) return;
  const event = world.range(s, batch.to, startOf(world.taken(s, me.row))).find((other) => !isFound(steps, other));
  if (event === undefined) return;
  const then = (d: State, mine: Streamer): void => {
    if (!world.without('noDeadline')) outlast(d);
    mine.ahead = event;
    mine.readBackBefore = me.row.readBackBelow;
    mine.batch!.part = true;
    mine.absent = mine.absent.filter((other) => other !== event);
  };
  const { delivered, acked, pending, readBackBelow } = me.row;
  if (world.without('aheadUnsaid')) {
    steps.add(`${nameOf(i)} chooses an event to send ahead`, (d) => then(d, d.streamers[i]!));
    return;
  }
  const below = Math.max(readBackBelow, lsnOf(world.positionOf(s, event)) + 1);
  write(steps, i, 'readBackUpTo: an event goes ahead', { delivered, acked, pending, readBackBelow: below }, then);
}

/** Ledger.split: pending shrinks to its left half. */
function split(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  const { row, cut } = s.streamers[i]!;
  const rows = batch.rows.slice(0, batch.rows.length >> 1);
  const to = world.positionOf(s, rows.at(-1)!);
  const token = tokenOf(steps, row.delivered, to);
  // rows that were found are there under other tokens
  const wasPartlyThere = batch.send.length < batch.rows.length && !world.without('splitForgetsReadBack');
  const readBackBelow = wasPartlyThere ? Math.max(row.readBackBelow, lsnOf(batch.to) + 1) : row.readBackBelow;
  const then = (_: State, mine: Streamer): void => {
    if (!wasPartlyThere) mine.absent = [...new Set([...mine.absent, ...batch.rows])].toSorted((a, b) => a - b);
    mine.batch = newBatch(to, token, rows, false, mustReadBack(steps, mine, rows, readBackBelow), true);
    mine.cut = Math.min(cut, to);
  };
  if (world.without('splitInMemory')) {
    steps.add(`${nameOf(i)} splits in memory`, (d) => then(d, d.streamers[i]!));
    return;
  }
  const { delivered, acked } = row;
  write(steps, i, 'split', { delivered, acked, readBackBelow, pending: { to, token, rows, old: false } }, then);
}

/** Ledger.quarantine: the row, and delivered past it, in one statement. */
function quarantine(steps: Steps, i: number, { rows, state }: Batch): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const event = rows[0]!;
  const own = settled(steps, { ...me, batch: { ...me.batch!, state: ANSWERED } });
  const isFree = world.without('ackPastQuarantine');
  const set = { ...own, acked: isFree ? own.acked : me.row.acked, pending: undefined };
  const then = (_: State, mine: Streamer): void => {
    mine.batch = undefined;
    mine.held = !isFree;
    mine.vouchedFor = Math.max(0, mine.vouchedFor - 1);
  };
  if (!world.without('quarantineInTwo')) write(steps, i, 'quarantine', { ...set, quarantined: event }, then);
  else if (s.quarantine.includes(event)) write(steps, i, 'quarantine: passes the row', set, then);
  else if (state === REFUSED) {
    steps.add(`${nameOf(i)} quarantine: sets the row aside`, (d) => {
      if (me.mine) d.quarantine.push(event);
    });
  }
}
