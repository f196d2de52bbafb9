import { freshToken, isBelow, type Steps } from './plan.ts';
import { UNSENT, type Batch, type EventId, type Lsn, type Position, type Streamer, type Token } from './state.ts';

export function newBatch(
  to: Position,
  token: Token,
  rows: readonly EventId[],
  isRecorded: boolean,
  readBack: boolean,
  part = false,
): Batch {
  return {
    to,
    token,
    rows,
    send: rows,
    state: UNSENT,
    mayBeThere: isRecorded,
    counts: false,
    lone: !isRecorded,
    old: false,
    readBack,
    heavy: false,
    heavyTimes: 0,
    part,
    viewFailed: false,
  };
}

/** Whether rows are to be read back before they are sent at all. */
export function mustReadBack(
  { s, world }: Steps,
  { absent }: Streamer,
  rows: readonly EventId[],
  readBackBelow: Lsn,
): boolean {
  const isUnread = rows.length > 0 && isBelow(world.positionOf(s, rows[0]!), readBackBelow);
  return isUnread && !rows.every((event) => absent.includes(event));
}

export function tokenOf({ s, world }: Steps, from: Position, to: Position): Token {
  return world.without('rangeToken') ? 200 + from * 64 + to : freshToken(s);
}
