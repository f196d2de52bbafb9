import { end, type Steps, type World } from './plan.ts';
import {
  ANSWERED,
  copyRow,
  formatPosition,
  lsnOf,
  nameOf,
  STATEMENTS,
  type LateWrite,
  type Row,
  type State,
  type Streamer,
  type Written,
} from './state.ts';

/** The rows of outbox.stream and outbox.quarantine, and how they are written: src/streamer/ledger/ledger.ts. */

/** UPDATE … SET epoch = epoch + 1 RETURNING …: nobody else's write changes anything from now on. */
export function executeTake(world: World, d: State): void {
  if (d.detached) return;
  fence(world, d);
  const row = d.ledger;
  if (row.timeline === d.timeline) return;
  row.timeline = d.timeline;
  if (!world.without('takeKeepsAckLimit')) row.acked = d.confirmedFlush;
  if (world.without('noReadBack')) return;
  row.pending = undefined;
  row.readBackBelow = d.wal.length;
}

/**
 * `reshard`: UPDATE … SET epoch = epoch + 1, ends_lsn = the end of WAL, as it is once the row is locked. The second time, which the
 * snapshot of a new slot goes with, others deliver from there on.
 */
export function executeEnd(world: World, d: State): void {
  d.resharded++;
  d.ledger.ends = d.wal.length;
  if (!world.without('endUnfenced')) fence(world, d);
}

/** A new epoch. */
export function fence(world: World, d: State): void {
  for (const streamer of d.streamers) streamer.mine = false;
  d.late = d.late.filter(({ set }) => set === undefined || isUnchecked(world, set));
}

export function executeLate(world: World, d: State, { was, set }: LateWrite): void {
  if (set === undefined) {
    executeTake(world, d);
    return;
  }
  if (!world.without('noCompare') && !isSameRow(d.ledger, was)) return;
  const { quarantined, ...columns } = set;
  Object.assign(d.ledger, columns);
  if (quarantined !== undefined) d.quarantine.push(quarantined);
}

/** UPDATE … WHERE epoch = mine AND delivered, pending are what I last wrote. */
export function write(
  steps: Steps,
  i: number,
  what: string,
  set: Written,
  then: (d: State, me: Streamer) => void,
): void {
  const { s, world } = steps;
  const me = s.streamers[i]!;
  // the proof's step stands for a write that finds the epoch lost
  if (!canWrite(me) || (!me.mine && !isUnchecked(world, set))) return;
  const { quarantined, ...columns } = set;
  const detail = (): string =>
    `${formatRow(set)}${quarantined === undefined ? '' : `, row ${quarantined} in quarantine`}`;
  steps.add(
    `${nameOf(i)} ${what}`,
    (d) => {
      if (!world.without('noCompare') && !isSameRow(d.ledger, me.row)) {
        end(d, i);
        return;
      }
      if (world.without('lazyLedger')) d.before = copyRow(d.ledger);
      Object.assign(d.ledger, columns);
      if (quarantined !== undefined) d.quarantine.push(quarantined);
      const mine = d.streamers[i]!;
      Object.assign(mine.row, columns);
      mine.proven = true;
      then(d, mine);
    },
    detail,
  );
  if (!me.mine) return;
  steps.fault(
    'lostWrite',
    `${nameOf(i)} ${what}: no answer`,
    (d) => {
      d.late.push({ was: copyRow(me.row), set: { ...columns, quarantined } });
      if (!world.without('sameEpochAfterLostWrite')) end(d, i);
    },
    detail,
  );
}

export const canWrite = (me: Streamer): boolean => me.link >= STATEMENTS;

/** What is delivered by now, as this session may write it. */
export function settled({ s, world }: Steps, me: Streamer): Omit<Written, 'pending'> {
  const { row, batch } = me;
  const delivered = batch?.state === ANSWERED ? batch.to : row.delivered;
  const acked = world.without('ackLimitAfter') ? row.acked : Math.max(row.acked, world.ackable(s, delivered));
  return { delivered, acked, readBackBelow: lsnOf(delivered) >= row.readBackBelow ? 0 : row.readBackBelow };
}

export function formatRow({ delivered, pending, acked, readBackBelow }: Written | Row): string {
  const parts = [`delivered ${formatPosition(delivered)}`];
  if (pending !== undefined)
    parts.push(`pending to ${formatPosition(pending.to)} [${String(pending.rows)}] token ${pending.token}`);
  if (readBackBelow > 0) parts.push(`read back below ${readBackBelow}`);
  parts.push(`acked ${acked}`);
  return parts.join(', ');
}

function isUnchecked(world: World, { pending }: Written): boolean {
  return world.without(pending === undefined ? 'noEpochCheckOnSettle' : 'noEpochCheckOnIntent');
}

function isSameRow(a: Row, b: Row): boolean {
  return a.delivered === b.delivered && a.pending?.to === b.pending?.to && a.pending?.token === b.pending?.token;
}
