import { attemptOf, isBehind, isFound } from './clickhouse.ts';
import { freshToken, tokenOfQuarantined, type Steps } from './plan.ts';
import { NOBODY, RETRY } from './state.ts';

/** `quarantine retry`: locks the row, reads back, inserts, deletes the row. */
export function retrySteps(steps: Steps): void {
  const { s, world } = steps;
  const { retry } = s;
  if (retry === undefined) {
    if (!world.retry) return;
    for (const event of s.quarantine) {
      steps.add(`retry locks row ${event}`, (d) => {
        d.retry = { event, state: 'locked', dropped: 0, proven: true, locked: true };
      });
    }
    return;
  }
  const { event, state, dropped, proven, locked } = retry;
  steps.fault('killRetry', 'RETRY IS KILLED', (d) => {
    d.retry = undefined;
    for (const attempt of d.attempts) if (attempt.owner === RETRY) attempt.owner = NOBODY;
  });
  if ((state === 'locked' || state === 'answered') && !isBehind(steps)) {
    const isThere = isFound(steps, event) && !world.without('retryBlindly');
    steps.add(isThere ? 'retry finds the row in the table' : 'retry does not find the row in the table', (d) => {
      d.retry!.state = isThere ? 'there' : 'absent';
      if (state === 'answered' && !isThere) d.retry!.dropped++;
      if (world.without('retryDeletesFirst')) d.quarantine = d.quarantine.filter((other) => other !== event);
    });
  }
  if (state === 'absent' && proven) {
    steps.add('retry inserts the row', (d) => {
      const own = world.without('retryAnyToken') ? freshToken(d) : tokenOfQuarantined(event, dropped);
      d.attempts.push(attemptOf(steps, RETRY, own, [event]));
      d.retry!.state = 'sent';
      if (!d.retried.includes(event)) d.retried.push(event);
    });
  }
  if (state === 'there' && locked) {
    steps.add('retry deletes the row from quarantine', (d) => {
      d.quarantine = d.quarantine.filter((other) => other !== event);
      d.retry = undefined;
    });
  }
  if (!locked) {
    steps.add('retry ends: connection lost', (d) => {
      d.retry = undefined;
      for (const attempt of d.attempts) if (attempt.owner === RETRY) attempt.owner = NOBODY;
    });
  }
}
