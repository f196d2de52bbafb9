import { newBatch, tokenOf } from './batch.ts';
import { attemptOf, isRemembered, sent } from './clickhouse.ts';
import { canWrite, settled, write } from './ledger.ts';
import { freshToken, outlast } from './plan.ts';
import type { Steps } from './plan.ts';
import { isolate } from './refusal.ts';
import { ANSWERED, formatPosition, isAnswered, lsnOf, nameOf, startOf, STREAM, UNSENT } from './state.ts';
import type { Batch, Insert, Pending, State, Streamer } from './state.ts';

/** From a range to rows in ClickHouse: src/streamer/loop.ts, delivery/deliver.ts, delivery/send.ts. */
export function deliverySteps(steps: Steps, i: number): void {
  const { batch } = steps.s.streamers[i]!;
  if (batch === undefined) cutPending(steps, i);
  for (const [index, { state }] of batch?.inserts.entries() ?? []) {
    if (state !== UNSENT) continue;
    absent(steps, i, batch!, index);
    insert(steps, i, batch!, index);
  }
  if (batch !== undefined) isolate(steps, i, batch);
  intend(steps, i);
  settle(steps, i);
}

/** Intake cuts the first batch at exactly pending. */
function cutPending(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const { pending } = me.row;
  if (pending === undefined || me.link !== STREAM || world.visible(s) <= lsnOf(pending.to)) return;
  steps.add(
    `${nameOf(i)} cut: pending again`,
    (d) => {
      const to = world.without('cutByLimits') ? world.positionOf(s, pending.rows[0]!) : pending.to;
      const rows = world.range(s, me.cut, to);
      const mine = d.streamers[i]!;
      const inserts = world.without('cutByConfig') ? 1 : pending.inserts;
      mine.batch = newBatch(steps, mine, { ...pending, to, rows, inserts }, true);
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
  if (me.batch === undefined ? me.row.pending !== undefined : !isAnswered(me.batch)) return;
  const next = world.range(s, me.cut, startOf(world.visible(s))).slice(0, world.maxRows);
  for (const [index, last] of next.entries()) {
    const rows = next.slice(0, index + 1);
    const to = world.positionOf(s, last);
    const inserts = Math.min(world.inserts, rows.length);
    const pending: Pending = { to, token: tokenOf(steps, me.cut, to), rows, inserts, old: false };
    const then = (_: State, mine: Streamer): void => {
      mine.batch = newBatch(steps, mine, pending, false);
      mine.cut = to;
      mine.done = mine.done.filter((event) => !rows.includes(event));
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
    write(steps, i, 'intend', { ...set, pending }, then);
  }
}

/** ReadBack.quiet, ReadBack.absent: once no attempt can be under way, finds which rows are not there. */
function absent(steps: Steps, i: number, { inserts }: Batch, index: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const own = inserts[index]!;
  if (!mustReadBack(steps, own) || !me.mine || !canWrite(me) || s.window !== 'on') return;
  const isQuiet = !world.without('readBackUnwaited');
  if (isQuiet && s.attempts.length > 0) return;
  const send = own.rows.filter((event) => s.table[event] === 0);
  const there = own.rows.filter((event) => s.table[event]! > 0);
  steps.add(
    `${nameOf(i)} absent`,
    (d) => {
      if (isQuiet && !world.without('noDeadline')) outlast(d);
      if (world.view && !world.without('viewsUnsaid'))
        d.unproven = [...new Set([...d.unproven, ...there])].toSorted((a, b) => a - b);
      const mine = d.streamers[i]!.batch!.inserts[index]!;
      mine.send = send;
      mine.readBack = false;
      mine.old = false;
      mine.lone = isQuiet;
      if (send.length === 0) mine.state = ANSWERED;
    },
    () => `[${String(send)}]`,
  );
}

function mustReadBack({ world }: Steps, { readBack, mayBeThere, old }: Insert): boolean {
  return readBack || (mayBeThere && old && !world.without('trustForEver'));
}

/** One attempt, within D of the last proof of the epoch; checkTarget before every repetition. */
function insert(steps: Steps, i: number, batch: Batch, index: number): void {
  const { s, world } = steps;
  const own = batch.inserts[index]!;
  const me = s.streamers[i]!;
  const canProve = me.mine && canWrite(me);
  if (!canProve && !me.proven) return;
  if (own.mayBeThere && s.window !== 'on') {
    doubt(steps, i, batch);
    return;
  }
  const attempt = attemptOf(steps, i, own.token, own.send, index);
  let isProven = false;
  if (mustReadBack(steps, own)) {
    // a failing view, and by the numbers of the blocks that came since the token is still remembered
    if (own.readBack || !own.viewFailed) return;
    isProven = isRemembered(steps, attempt);
    if (!isProven && !world.without('viewsTrusted')) return;
  }
  steps.add(
    `${nameOf(i)} insert`,
    (d) => {
      const token = world.without('newTokenOnRetry') ? freshToken(d) : own.token;
      const mine = d.streamers[i]!;
      if (canProve) mine.proven = true;
      sent(mine.batch!.inserts[index]!);
      if (isProven) {
        mine.batch!.inserts[index]!.old = false;
        for (const known of d.remembered) if (known.token === token) known.old = false;
      }
      d.attempts.push({ ...attempt, token });
    },
    () => `[${String(own.send)}] token ${world.without('newTokenOnRetry') ? 'of its own' : own.token}`,
  );
}

/** A window that is off has forgotten its tokens: that is written before anything is waited for (TargetWatch.look). */
function doubt(steps: Steps, i: number, batch: Batch): void {
  const { s, world } = steps;
  if (s.window !== 'off') return;
  const seen = (d: State): void => {
    d.window = 'seen off';
    for (const own of d.streamers[i]!.batch!.inserts) {
      if (own.mayBeThere && own.state !== ANSWERED) own.readBack = true;
    }
  };
  const { delivered, acked, pending, readBackBelow } = s.streamers[i]!.row;
  if (world.without('doubtInMemory')) steps.add(`${nameOf(i)} checkTarget: the window is off`, seen);
  else {
    const below = Math.max(readBackBelow, lsnOf(batch.to) + 1);
    write(steps, i, 'readBackUpTo: the window is off', { delivered, acked, pending, readBackBelow: below }, seen);
  }
}

/** Ledger.settle */
function settle(steps: Steps, i: number): void {
  const me = steps.s.streamers[i]!;
  if (!isAnswered(me.batch)) return;
  write(steps, i, 'settle', { ...settled(steps, me), pending: undefined }, (_, mine) => {
    mine.batch = undefined;
  });
}
