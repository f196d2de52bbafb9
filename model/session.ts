import { isFound, isLagging } from './clickhouse.ts';
import { deliverySteps } from './delivery.ts';
import { executeTake, formatRow, write } from './ledger.ts';
import { end, type Steps } from './plan.ts';
import {
  ANSWERED,
  ATTACHED,
  copyRow,
  CUT_OFF,
  DOWN,
  LIVE,
  lsnOf,
  nameOf,
  startOf,
  STATEMENTS,
  STOPPED,
  STREAM,
  TAKEN,
  type Lsn,
  type Position,
  type State,
  type Streamer,
} from './state.ts';

/** What one streamer does; the names are those of the code's functions: src/streamer/session.ts, acks.ts. */
export function sessionSteps(steps: Steps, i: number): void {
  const { s } = steps;
  const me = s.streamers[i]!;
  if (me.phase === STOPPED) return;
  if (me.phase === DOWN) {
    attach(steps, i);
    return;
  }
  steps.fault('crash', `${nameOf(i)} DIES`, (d) => end(d, i));
  if (me.link === CUT_OFF && steps.world.without('keepMemory')) reattach(steps, i);
  // fewer than both connections, or no epoch any more: the session will end, and until it knows it goes on
  if (me.link !== STREAM) steps.add(`${nameOf(i)} ends: connection lost`, (d) => end(d, i));
  else if (me.phase !== ATTACHED && !me.mine) steps.add(`${nameOf(i)} prove: epoch lost`, (d) => end(d, i));
  if (me.phase === ATTACHED && me.link === STREAM) take(steps, i);
  if (me.phase === TAKEN) detectLedgerBehind(steps, i);
  if (me.phase !== LIVE) return;
  deliverySteps(steps, i);
  release(steps, i);
  allowAck(steps, i);
  sendStatus(steps, i);
}

/** The slot admits one; untilFree terminates a holder that is taken for dead. */
function attach(steps: Steps, i: number): void {
  const { s } = steps;
  if (s.detached) return;
  const change = (d: State): void => {
    for (const other of d.streamers) other.link = Math.min(other.link, STATEMENTS) as typeof STATEMENTS;
    d.streamers[i] = { ...d.streamers[i]!, phase: ATTACHED, link: STREAM };
  };
  const detail = (): string => `the stream begins at LSN ${s.confirmedFlush}`;
  if (s.streamers.some(({ link }) => link === STREAM))
    steps.fault('takeover', `${nameOf(i)} untilFree: TERMINATES THE WALSENDER, attach`, change, detail);
  else steps.add(`${nameOf(i)} attach`, change, detail);
}

/** A session that keeps its memory over a lost connection: no rule of ours. */
function reattach(steps: Steps, i: number): void {
  if (steps.s.streamers.some(({ link }) => link === STREAM)) return;
  steps.add(`${nameOf(i)} attaches again with its memory`, (d) => {
    const me = d.streamers[i]!;
    me.link = STREAM;
    me.mine = true;
    me.proven = true;
    me.cut = Math.max(me.cut, startOf(d.confirmedFlush));
  });
}

/** Marks a row that was read before the take. */
const READ: Position = -1;

/** Ledger.take */
function take(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const isRead = me.cut === READ;
  if (world.without('readBeforeTake') && !isRead) {
    steps.add(
      `${nameOf(i)} reads the ledger`,
      (d) => {
        d.streamers[i]!.row = copyRow(d.ledger);
        d.streamers[i]!.cut = READ;
      },
      () => formatRow(s.ledger),
    );
    return;
  }
  const taken = (d: State): void => {
    const isNewTimeline = d.ledger.timeline !== d.timeline;
    executeTake(world, d);
    if (world.without('cutAnew')) d.ledger.pending = undefined;
    const row = isRead ? me.row : copyRow(d.ledger);
    if (d.confirmedFlush > d.ledger.acked && !world.without('noAckLimit')) {
      if (d.slotChanged === 0)
        d.wrong = `false stop: OUTBOX_SLOT_CHANGED, although nobody touched the slot${isNewTimeline ? ' of the new primary' : ''}`;
      end(d, i);
      d.streamers[i]!.phase = STOPPED;
      return;
    }
    if (d.slotChanged === 2) d.wrong = 'unnoticed: the slot was made again, and the streamer goes on';
    const began = startOf(d.confirmedFlush);
    if (row.pending !== undefined && row.pending.to < began)
      d.wrong = 'false stop: OUTBOX_RANGE_LOST, the stream begins beyond pending';
    if (lsnOf(row.pending?.to ?? row.delivered) > d.wal.length)
      d.wrong = 'false stop: OUTBOX_POSITION_BEYOND_WAL, although the ledger is of the same server as its WAL';
    // what is in quarantine and acknowledged is nowhere else; what is not may have been written a moment ago
    const isUnacked = (event: number): boolean =>
      world.isInWal(d, event) && lsnOf(world.positionOf(d, event)) >= d.confirmedFlush;
    d.streamers[i] = {
      phase: world.faults.restore === undefined ? LIVE : TAKEN,
      mine: true,
      link: STREAM,
      proven: true,
      row,
      cut: Math.max(row.delivered, began),
      batch: undefined,
      absent: [],
      vouchedFor: 0,
      ahead: undefined,
      readBackBefore: undefined,
      held: !world.without('holdForgotten') && !world.without('ackPastQuarantine') && d.quarantine.some(isUnacked),
    };
  };
  steps.add(`${nameOf(i)} take`, taken, () => formatRow(s.ledger));
  steps.fault('lostWrite', `${nameOf(i)} take: no answer`, (d) => {
    d.late.push({ was: copyRow(d.ledger), set: undefined });
    end(d, i);
  });
}

/** Rows of this source that the ledger cannot have sent mean that it is a restored one: delivery/ledger-behind.ts, Ledger.distrust. */
function detectLedgerBehind(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  const { delivered, pending, readBackBelow, acked } = me.row;
  if (isLagging(steps)) return;
  const isStrange = (event: number): boolean => {
    if (!isFound(steps, event)) return false;
    const position = world.positionOf(s, event);
    if (lsnOf(position) < readBackBelow) return false;
    if (world.without('distrustByReach')) return position > (pending?.to ?? delivered);
    return position > delivered && s.stamps[event] !== pending?.token;
  };
  const strange = [...s.table.keys()].filter(isStrange);
  const live = (d: State): void => {
    d.streamers[i]!.phase = LIVE;
  };
  if (strange.length === 0 || world.without('noDistrust')) {
    steps.add(`${nameOf(i)} detectLedgerBehind: nothing beyond the ledger`, live);
    return;
  }
  const last = Math.max(...strange.map((event) => lsnOf(world.positionOf(s, event))));
  const below = Math.max(s.wal.length, last + 1);
  write(
    steps,
    i,
    `distrust [${String(strange)}]`,
    { delivered, acked, pending: undefined, readBackBelow: below },
    live,
  );
}

/** The stream has passed the WAL of the quarantined row: where the walsender waits for standbys, they have it. */
function release(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  if (!me.held || me.link !== STREAM) return;
  const { replica } = s;
  if (
    world.slotsWaitForStandby &&
    replica !== undefined &&
    !s.quarantine.every((event) => replica.quarantine.includes(event))
  )
    return;
  steps.add(`${nameOf(i)} advanceTo: past the quarantined row`, (d) => {
    d.streamers[i]!.held = false;
  });
}

/** How far keepalives go: all WAL before the next event, unless that stands inside its transaction. */
function keepalive({ s, world }: Steps, me: Streamer): Lsn | undefined {
  const visible = world.without('ackPastShare') ? world.visible(s) : world.taken(s, me.row);
  const [next] = world.range(s, me.cut, startOf(world.taken(s, me.row)));
  if (next === undefined || world.without('idleAckWhileBuffered')) return visible;
  const { seq } = world.events[next]!;
  return seq === 1 ? lsnOf(world.positionOf(s, next)) : undefined;
}

function idleLsn(steps: Steps, me: Streamer): Lsn {
  if (me.link !== STREAM || me.batch !== undefined || me.row.pending !== undefined) return 0;
  return keepalive(steps, me) ?? 0;
}

/** What an idle stream may acknowledge is written first: Acks.isOwed, Ledger.allowAck. */
function allowAck(steps: Steps, i: number): void {
  const me = steps.s.streamers[i]!;
  const acked = idleLsn(steps, me);
  if (acked <= me.row.acked) return;
  const { delivered, pending, readBackBelow } = me.row;
  write(steps, i, 'allowAck', { delivered, pending, readBackBelow, acked }, () => undefined);
}

/** Acks.flushLsn, told by Replication.sendStatus. */
function sendStatus(steps: Steps, i: number): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  if (me.link !== STREAM || me.held) return;
  const { row, cut, batch } = me;
  let flush = row.acked;
  if (world.without('ackWhenCut')) flush = Math.max(flush, world.ackable(s, cut));
  if (world.without('ackWhenAnswered'))
    flush = Math.max(flush, world.ackable(s, batch?.state === ANSWERED ? batch.to : row.delivered));
  if (world.without('ackLimitAfter')) flush = Math.max(flush, idleLsn(steps, me), world.ackable(s, row.delivered));
  if (flush <= s.confirmedFlush || flush > s.wal.length + 1) return;
  steps.add(`${nameOf(i)} sendStatus: flush ${flush}`, (d) => {
    d.confirmedFlush = flush;
  });
}
