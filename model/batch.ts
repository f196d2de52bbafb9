import { freshToken, isBelow } from './plan.ts';
import type { Steps } from './plan.ts';
import { ANSWERED, tokenOfInsert, UNSENT } from './state.ts';
import type { Batch, EventId, Insert, Lsn, Pending, Position, Streamer, Token } from './state.ts';

/** What is pending, cut into its inserts. */
export function newBatch(steps: Steps, me: Streamer, pending: Pending, isRecorded: boolean): Batch {
  const { world } = steps;
  const { to, token, rows } = pending;
  const inserts = sharesOf(pending).map((share, index): Insert => ({
    token: world.without('oneToken') ? token : tokenOfInsert(token, index),
    rows: share,
    send: share,
    state: share.every((event) => me.done.includes(event)) ? ANSWERED : UNSENT,
    mayBeThere: isRecorded,
    lone: !isRecorded,
    old: pending.old,
    readBack: isUnread(steps, share, me.row.readBackBelow) && !share.every((event) => me.absent.includes(event)),
    heavy: false,
    viewFailed: false,
  }));
  return { to, token, rows, inserts };
}

function sharesOf({ rows, inserts }: Pending): (readonly EventId[])[] {
  const at = (index: number): number => Math.floor((index * rows.length) / inserts);
  return Array.from({ length: inserts }, (_, index) => rows.slice(at(index), at(index + 1)));
}

/** Whether rows are to be read back before they are sent at all. */
function isUnread({ s, world }: Steps, rows: readonly EventId[], readBackBelow: Lsn): boolean {
  return rows.length > 0 && isBelow(world.positionOf(s, rows[0]!), readBackBelow);
}

export function tokenOf({ s, world }: Steps, from: Position, to: Position): Token {
  return world.without('rangeToken') ? 200 + from * 64 + to : freshToken(s);
}
