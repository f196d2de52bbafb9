import { mustReadBack, newBatch, tokenOf } from './batch.ts';
import { attemptOf, isBehind, isFound, isLagging, isRemembered, sent } from './clickhouse.ts';
import { canWrite, settled, write } from './ledger.ts';
import { freshToken, outlast, type Steps } from './plan.ts';
import { isolate, nothingWentAhead } from './refusal.ts';
import {
  ANSWERED,
  formatPosition,
  lsnOf,
  nameOf,
  REFUSED,
  startOf,
  STREAM,
  UNCOUNTED,
  UNSENT,
  type Batch,
  type State,
  type Streamer,
} from './state.ts';

/** From a range to rows in ClickHouse: src/streamer/loop.ts, delivery/deliver.ts, delivery/reliable-insert.ts. */
export function deliverySteps(steps: Steps, i: number): void {
  const { batch } = steps.s.streamers[i]!;
  if (batch === undefined) cutPending(steps, i);
  if (batch?.state === UNSENT) {
    absent(steps, i, batch);
    insert(steps, i, batch);
  }
  if (batch?.state === UNCOUNTED) count(steps, i, batch);
  if (batch?.state === REFUSED) isolate(steps, i, batch);
  nothingWentAhead(steps, i);
  intend(steps, i);
  settle(steps, i);
}

/** Intake cuts the first batch at exactly pending. */
function cutPending(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const { pending, readBackBelow } = me.row;
  if (pending === undefined || me.link !== STREAM || world.visible(s) <= lsnOf(pending.to)) return;
  steps.add(
    `${nameOf(i)} cut: pending again`,
    (d) => {
      const { token, old } = pending;
      const to = world.without('cutByLimits') ? world.positionOf(s, pending.rows[0]!) : pending.to;
      const rows = world.range(s, me.cut, to);
      const mine = d.streamers[i]!;
      mine.batch = { ...newBatch(to, token, rows, true, mustReadBack(steps, me, rows, readBackBelow)), old };
      mine.cut = to;
      if (String(rows) !== String(pending.rows))
        d.wrong = `altered: the recorded insert was [${String(pending.rows)}], cut again it is [${String(rows)}]`;
    },
    () => `to ${formatPosition(pending.to)}`,
  );
}

/** Ledger.intend settles the batch before and records the next. */
function intend(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  if (me.batch === undefined ? me.row.pending !== undefined : me.batch.state !== ANSWERED) return;
  const next = world.range(s, me.cut, startOf(world.taken(s, me.row))).slice(0, world.maxRows);
  for (const [index, last] of next.entries()) {
    const rows = next.slice(0, index + 1);
    const to = world.positionOf(s, last);
    const token = tokenOf(steps, me.cut, to);
    const isPart = rows.some((event) => me.absent.includes(event));
    const then = (_: State, mine: Streamer): void => {
      mine.batch = newBatch(to, token, rows, false, mustReadBack(steps, mine, rows, me.row.readBackBelow), isPart);
      mine.cut = to;
      mine.absent = mine.absent.filter((event) => !rows.includes(event));
    };
    if (world.without('noIntent')) {
      steps.add(
        `${nameOf(i)} cut`,
        (d) => then(d, d.streamers[i]!),
        () => `[${String(rows)}]`,
      );
      continue;
    }
    const set = world.without('settleEarly') ? { ...settled(steps, me), delivered: to } : settled(steps, me);
    write(steps, i, 'intend', { ...set, pending: { to, token, rows, old: false } }, then);
  }
}

/** An answer that follows an unknown outcome: on a replicated table a known token does not prove its rows. */
function count(steps: Steps, i: number, batch: Batch): void {
  if (isLagging(steps)) return;
  const isWhole = batch.send.every((event) => isFound(steps, event));
  steps.add(`${nameOf(i)} counts`, (d) => {
    const mine = d.streamers[i]!.batch!;
    mine.state = isWhole ? ANSWERED : UNSENT;
    mine.readBack = !isWhole;
  });
}

/**
 * ReadBack.quiet, ReadBack.absent: once no attempt can be under way, finds which rows are not there. They are sent under a new token:
 * ClickHouse may know the former one, and no attempt under it can be under way.
 */
function absent(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  if (!isReadBackNeeded(steps, batch) || !me.mine || !canWrite(me) || s.window !== 'on') return;
  const isQuiet = !world.without('readBackUnwaited');
  if ((isQuiet && s.attempts.length > 0) || isBehind(steps)) return;
  const send = batch.rows.filter((event) => !isFound(steps, event));
  const there = batch.rows.filter((event) => isFound(steps, event));
  const then = (d: State): void => {
    if (isQuiet && !world.without('noDeadline')) outlast(d);
    if (world.view && !world.without('viewsUnsaid'))
      d.unproven = [...new Set([...d.unproven, ...there])].toSorted((a, b) => a - b);
    const mine = d.streamers[i]!.batch!;
    mine.send = send;
    mine.readBack = false;
    mine.old = false;
    mine.lone = isQuiet;
    if (send.length === 0) mine.state = ANSWERED;
    else if (batch.mayBeThere && !world.without('sameTokenAgain')) {
      mine.token = freshToken(d);
      mine.mayBeThere = false;
    }
  };
  steps.add(`${nameOf(i)} absent`, then, () => `[${String(send)}]`);
}

function isReadBackNeeded({ world }: Steps, batch: Batch): boolean {
  return batch.readBack || (batch.mayBeThere && batch.old && !world.without('trustForEver'));
}

/** One attempt, within D of the last proof of the epoch; checkTarget before every repetition. */
function insert(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const canProve = me.mine && canWrite(me);
  if (!canProve && !me.proven) return;
  if (batch.mayBeThere && s.window !== 'on' && !(s.window === 'replaced' && world.without('replacedUnseen'))) {
    doubt(steps, i, batch);
    return;
  }
  const attempt = attemptOf(steps, i, batch.token, batch.send);
  let isProven = false;
  if (isReadBackNeeded(steps, batch)) {
    // a failing view, and by the numbers of the blocks that came since the token is still remembered
    if (batch.readBack || !batch.viewFailed) return;
    isProven = isRemembered(steps, attempt);
    if (!isProven && !world.without('viewsTrusted')) return;
  }
  steps.add(
    `${nameOf(i)} insert`,
    (d) => {
      const token = world.without('newTokenOnRetry') ? freshToken(d) : batch.token;
      const mine = d.streamers[i]!;
      if (canProve) mine.proven = true;
      mine.batch!.counts = world.replicas && batch.mayBeThere && !world.without('settleUncounted');
      sent(mine.batch!);
      if (isProven) {
        mine.batch!.old = false;
        for (const known of d.remembered) if (known.token === token) known.old = false;
      }
      d.attempts.push({ ...attempt, token });
    },
    () => `[${String(batch.send)}] token ${world.without('newTokenOnRetry') ? 'of its own' : batch.token}`,
  );
}

/** A window that is off, or is another table's, has forgotten the tokens: that is written before anything is waited for (TargetWatch.check). */
function doubt(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  if (s.window !== 'off' && s.window !== 'replaced') return;
  const seen = (d: State): void => {
    d.window = s.window === 'off' ? 'seen off' : 'on';
    d.streamers[i]!.batch!.readBack = true;
  };
  const { delivered, acked, pending, readBackBelow } = s.streamers[i]!.row;
  if (world.without('doubtInMemory')) steps.add(`${nameOf(i)} checkTarget: its tokens are forgotten`, seen);
  else {
    const below = Math.max(readBackBelow, lsnOf(batch.to) + 1);
    write(steps, i, 'checkTarget: its tokens are forgotten', { delivered, acked, pending, readBackBelow: below }, seen);
  }
}

/** Ledger.settle */
function settle(steps: Steps, i: number): void {
  const me = steps.s.streamers[i]!;
  if (me.batch?.state !== ANSWERED) return;
  write(steps, i, 'settle', { ...settled(steps, me), pending: undefined }, (_, mine) => {
    mine.batch = undefined;
  });
}
