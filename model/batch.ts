import { freshToken, isBelow } from './plan.ts';
import type { Steps } from './plan.ts';
import { UNSENT } from './state.ts';
import type { Batch, EventId, Lsn, Position, Token } from './state.ts';

export function newBatch(
  to: Position,
  token: Token,
  rows: readonly EventId[],
  isRecorded: boolean,
  readBack: boolean,
): Batch {
  return {
    to,
    token,
    rows,
    send: rows,
    state: UNSENT,
    mayBeThere: isRecorded,
    lone: !isRecorded,
    old: false,
    readBack,
    heavy: false,
    viewFailed: false,
  };
}

/** Whether rows are to be read back before they are sent at all. */
export function isUnread({ s, world }: Steps, rows: readonly EventId[], readBackBelow: Lsn): boolean {
  return rows.length > 0 && isBelow(world.positionOf(s, rows[0]!), readBackBelow);
}

export function tokenOf({ s, world }: Steps, from: Position, to: Position): Token {
  return world.without('rangeToken') ? 200 + from * 64 + to : freshToken(s);
}
