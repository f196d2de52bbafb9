import { attemptOf, isFound } from './clickhouse.ts';
import { fence, formatRow } from './ledger.ts';
import { outlast, tokenOfRepair, type Steps } from './plan.ts';
import { CUT_OFF, NOBODY, startOf, STREAM } from './state.ts';

/**
 * `detach`, and the repair that goes on after it, perhaps on another server: src/streamer/ledger/lifecycle.ts, src/streamer/repair.
 * The repair takes the epoch as well, which says nothing to a streamer of the server that the database has left: only `detach`
 * fences that one. So it does here. That nothing is pending then is for the views' sake, and no condition here.
 */
export function detachSteps(steps: Steps): void {
  const { s, world } = steps;
  const { ledger, repair } = s;
  if (!s.detached && !s.streamers.some(({ link }) => link === STREAM)) {
    steps.fault(
      'detach',
      'DETACH takes the ledger and drops the slot',
      (d) => {
        if (!world.without('detachUnfenced')) fence(world, d);
        d.detached = true;
      },
      () => formatRow(ledger),
    );
  }
  if (!s.detached) return;
  if (repair === undefined) {
    if (s.attempts.length > 0 && !world.without('repairUnwaited')) return;
    const missing = s.wal.flatMap((_, lsn) => world.range(s, startOf(lsn), startOf(lsn + 1)));
    const rows = missing.filter((event) => !isFound(steps, event) && !s.quarantine.includes(event));
    steps.add(
      'repair makes a slot and compares',
      (d) => {
        if (!world.without('repairUnwaited')) outlast(d);
        d.repair = { upTo: d.wal.length, rows };
      },
      () => `up to LSN ${s.wal.length}, missing [${String(rows)}]`,
    );
    return;
  }
  const { upTo, rows } = repair;
  const token = tokenOfRepair(rows);
  steps.fault('crash', 'THE REPAIR DIES', (d) => {
    d.repair = undefined;
  });
  const isSent = s.attempts.some((attempt) => attempt.token === token);
  if (rows.some((event) => s.table[event] === 0)) {
    if (!isSent)
      steps.add(
        'repair inserts',
        (d) => void d.attempts.push(attemptOf(steps, NOBODY, token, rows)),
        () => `[${String(rows)}] token ${token}`,
      );
    return;
  }
  steps.add('repair hands the ledger back', (d) => {
    d.repair = undefined;
    d.detached = false;
    d.confirmedFlush = upTo;
    const { timeline } = d;
    d.ledger = {
      timeline,
      delivered: startOf(upTo),
      pending: undefined,
      readBackBelow: 0,
      acked: upTo,
      ends: undefined,
    };
    // whoever still has a connection has it to the server that was left
    for (const streamer of d.streamers) {
      streamer.link = CUT_OFF;
      streamer.mine = false;
    }
  });
}
