import { executeEnd, executeLate, formatRow } from './ledger.ts';
import { outlast, type Steps } from './plan.ts';
import { copyRow, CUT_OFF, STREAM, type Replica, type State } from './state.ts';

/** What the application, Postgres and its operator do. */
export function postgresSteps(steps: Steps): void {
  const { s, world } = steps;
  commit(steps);
  // a slot is made durably
  for (let to = s.slotChanged > 0 ? s.confirmedFlush : 0; to <= s.confirmedFlush; to++) {
    steps.fault('postgresCrash', `POSTGRES CRASHES, confirmed_flush ${s.confirmedFlush} → ${to}`, (d) => {
      d.confirmedFlush = to;
      for (const streamer of d.streamers) streamer.link = CUT_OFF;
      if (d.retry !== undefined) d.retry.locked = false;
      if (world.without('lazyLedger') && d.before !== undefined) d.ledger = d.before;
    });
  }
  for (const [index, write] of s.late.entries()) {
    steps.add(
      'a late UPDATE executes',
      (d) => {
        d.late.splice(index, 1);
        executeLate(world, d, write);
      },
      () => (write.set === undefined ? 'take' : formatRow(write.set)),
    );
  }
  if (s.replica === undefined && s.left.failover + s.left.restore > 0) {
    steps.add(s.left.restore > 0 ? 'a snapshot is taken' : 'the standby gets no more WAL', (d) => {
      d.replica = {
        walEnd: d.wal.length,
        confirmedFlush: d.confirmedFlush,
        ledger: copyRow(d.ledger),
        quarantine: [...d.quarantine],
      };
    });
  }
  const end = (d: State): void => executeEnd(world, d);
  const detail = (): string => `ends before LSN ${s.wal.length}`;
  if (s.resharded === 0) steps.fault('reshard', 'reshard: the ledger ends for now', end, detail);
  if (s.resharded === 1) steps.add('reshard: others deliver from its end on', end, detail);
  const { replica } = s;
  if (replica !== undefined) {
    const ahead = Math.min(s.confirmedFlush, replica.walEnd);
    for (let to = 0; to <= ahead; to++) failover(steps, replica, to);
    if (s.attempts.length === 0 || world.without('quickRestore')) restore(steps, replica);
  }
  if (s.confirmedFlush < s.wal.length && !s.streamers.some(({ link }) => link === STREAM)) {
    steps.fault('slotRecreated', 'THE SLOT IS DROPPED AND MADE AGAIN', (d) => {
      d.confirmedFlush = d.wal.length;
      const isGap = world.range(d, 0, Infinity).some((event) => !world.isThere(d, event));
      d.slotChanged = isGap ? 2 : Math.max(1, d.slotChanged);
    });
  }
}

function commit(steps: Steps): void {
  const { s, world } = steps;
  const transaction = s.lsnOf.indexOf(-1);
  if (transaction === -1) return;
  steps.add(
    'the application commits',
    (d) => {
      d.lsnOf[transaction] = d.wal.length;
      d.wal.push(transaction);
    },
    () => `transaction ${transaction} with ${world.transactions[transaction]} events at LSN ${s.wal.length}`,
  );
}

function failover(steps: Steps, replica: Replica, confirmedFlush: number): void {
  steps.fault(
    'failover',
    'FAILOVER to the standby',
    (d) => {
      become(d, replica);
      d.timeline++;
      d.confirmedFlush = confirmedFlush;
    },
    () =>
      `its WAL ends at ${replica.walEnd}, its ledger: ${formatRow(replica.ledger)}; confirmed_flush ${confirmedFlush}`,
  );
}

function restore(steps: Steps, replica: Replica): void {
  steps.fault(
    'restore',
    'THE SNAPSHOT IS RESTORED, same timeline',
    (d) => {
      become(d, replica);
      d.confirmedFlush = replica.confirmedFlush;
      if (!steps.world.without('quickRestore')) outlast(d);
    },
    () =>
      `WAL ends at ${replica.walEnd}, ledger: ${formatRow(replica.ledger)}; confirmed_flush ${replica.confirmedFlush}`,
  );
}

/** Everybody's connections were to the old server. */
function become(d: State, replica: Replica): void {
  d.wal.length = replica.walEnd;
  d.ledger = copyRow(replica.ledger);
  d.before = undefined;
  d.quarantine = [...replica.quarantine];
  d.late = [];
  d.replica = undefined;
  for (const streamer of d.streamers) {
    streamer.link = CUT_OFF;
    streamer.mine = false;
  }
  if (d.retry !== undefined) d.retry.locked = false;
}
