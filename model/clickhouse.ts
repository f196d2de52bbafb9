import { outlast, type Steps } from './plan.ts';
import {
  ANSWERED,
  LASTING,
  NOBODY,
  REFUSED,
  RETRY,
  SENT,
  UNSENT,
  VIEW,
  type Attempt,
  type Batch,
  type EventId,
  type Row,
  type State,
  type Token,
  UNCOUNTED,
} from './state.ts';

/** More would show nothing new. */
const VOUCHES_FOR = 2;

/** What becomes of the attempts: applied part by part, dropped by the token, refused, lost. */
export function clickhouseSteps(steps: Steps): void {
  const { s, world } = steps;
  for (const [index, attempt] of s.attempts.entries()) attemptSteps(steps, attempt, index);
  steps.fault('heal', 'what refuses the row is fixed', (d) => {
    d.healed = true;
  });
  steps.fault('viewBreaks', 'THE VIEW BREAKS', (d) => {
    d.viewBroken = true;
  });
  if (s.viewBroken) {
    steps.add('the view is fixed', (d) => {
      d.viewBroken = false;
    });
  }
  steps.fault('tableBreaks', 'THE TABLE REFUSES EVERY ROW', (d) => {
    d.tableBroken = true;
  });
  if (s.tableBroken) {
    steps.add('the table is fixed', (d) => {
      d.tableBroken = false;
    });
  }
  if (s.unfetched.length > 0) {
    steps.add('the other replica fetches', (d) => {
      d.unfetched = [];
    });
    if (world.quorum) failQuorum(steps);
  }
  if (s.unchecked.length > 0) {
    steps.add('the replica removes the part that Keeper does not know', (d) => {
      d.unchecked = [];
    });
  }
  windowSteps(steps);
}

function attemptSteps(steps: Steps, attempt: Attempt, index: number): void {
  const { s, world } = steps;
  const { owner, rows, todo, token, touched } = attempt;
  const what = (): string => `[${String(rows)}] token ${formatToken(token)}${owner === NOBODY ? ', late' : ''}`;
  const isRefused = !touched && (s.tableBroken || (!s.healed && rows.some((event) => world.poison.includes(event))));
  const isTooLarge = !touched && rows.some((event) => world.large.includes(event));
  for (const part of todo) {
    if (isRefused || isTooLarge || (part === VIEW && (todo.length > 1 || s.viewBroken))) continue;
    const isKnown = remembers(s) && s.remembered.some((r) => r.part === part && r.token === token);
    const where = part === VIEW ? 'the view' : world.partitions > 1 ? `partition ${part}` : 'the table';
    steps.add(
      isKnown ? `${where} drops an insert by its token` : `${where} takes an insert`,
      (d) => apply(steps, d, index, part, isKnown),
      what,
    );
    if (part === VIEW || isKnown) continue;
    steps.fault(
      'partDropped',
      'a part is dropped, its token is known, there is no answer',
      (d) => drop(d, index, part),
      what,
    );
    steps.fault(
      'partUnknown',
      'a part is shown and Keeper does not know it, there is no answer',
      (d) => show(steps, d, index, part),
      what,
    );
  }
  if (isRefused) steps.add('an insert is refused: a row', (d) => refuse(d, index, false), what);
  if (s.viewBroken && todo.length === 1 && todo[0] === VIEW)
    steps.add('an insert is refused: the view', (d) => failView(d, index), what);
  if (isTooLarge && !isRefused) steps.add('an insert is refused: too large', (d) => refuse(d, index, true), what);
  if (todo.length > 0 && !isRefused && !isTooLarge)
    steps.fault('memory', 'an insert is refused: no memory', (d) => refuse(d, index, true), what);
  if (owner === NOBODY) {
    steps.add('a late insert fails', (d) => void d.attempts.splice(index, 1), what);
    return;
  }
  if (todo.length === 0 && isHeld(steps, attempt)) {
    steps.add(
      'ClickHouse answers',
      (d) => {
        finish(d, index, 'answered', world.replicas && !world.without('retryUncounted'));
      },
      what,
    );
  }
  const lose = (d: State): void => {
    d.attempts[index]!.owner = NOBODY;
    forget(d, owner);
  };
  steps.fault('lostAnswer', 'the answer is lost', lose, what);
  const isGivenUp = world.quorum && rows.some((event) => s.table[event] === 0);
  if (todo.length === 0 && isGivenUp && !isHeld(steps, attempt))
    steps.add('ClickHouse cannot verify the quorum', lose, what);
}

function apply({ world }: Steps, d: State, index: number, part: number, isKnown: boolean): void {
  const attempt = d.attempts[index]!;
  attempt.todo = attempt.todo.filter((p) => p !== part);
  attempt.touched = true;
  const known = d.remembered.find((r) => r.part === part && r.token === attempt.token);
  if (isKnown) return;
  if (remembers(d) && !world.without('noWindow')) {
    if (known === undefined) d.remembered.push({ part, token: attempt.token, old: false });
    else known.old = false;
  }
  for (const event of attempt.rows) {
    if (part === VIEW) d.view[event]!++;
    else if (partitionOf(event, world.partitions) === part) {
      d.table[event]!++;
      if (world.replicas) d.unfetched.push(event);
      d.stamps[event] = attempt.token;
    }
  }
}

/** The others give the part up: the replica that has it puts it away when it comes back. */
function failQuorum(steps: Steps): void {
  const { s, world } = steps;
  for (const part of new Set(s.unfetched.map((event) => partitionOf(event, world.partitions)))) {
    const lost = s.unfetched.filter((event) => partitionOf(event, world.partitions) === part);
    steps.fault(
      'quorumFails',
      'THE QUORUM OF A PART FAILS',
      (d) => {
        const tokens = lost.map((event) => s.stamps[event]);
        for (const event of lost) d.table[event]!--;
        d.unfetched = s.unfetched.filter((event) => !lost.includes(event));
        d.remembered = d.remembered.filter((known) => known.part !== part || !tokens.includes(known.token));
      },
      () => `[${String(lost)}]`,
    );
  }
}

/**
 * With a quorum, the answer waits until the other replica has the rows. A repetition that finds its token known waits for the first
 * insert's quorum, and takes it for reached when it has failed.
 */
function isHeld({ s, world }: Steps, { owner, rows }: Attempt): boolean {
  if (!world.quorum) return true;
  const isRepeated = s.streamers[owner]?.batch?.counts === true || owner === RETRY;
  return rows.every((event) => !s.unfetched.includes(event) && (s.table[event]! > 0 || isRepeated));
}

/** The replica's fault, and nobody hears of it. */
function drop(d: State, index: number, part: number): void {
  const [attempt] = d.attempts.splice(index, 1);
  if (remembers(d)) d.remembered.push({ part, token: attempt!.token, old: false });
  forget(d, attempt!.owner);
}

/** The replica has lost Keeper in the middle of the commit. */
function show({ world }: Steps, d: State, index: number, part: number): void {
  const [attempt] = d.attempts.splice(index, 1);
  for (const event of attempt!.rows) if (partitionOf(event, world.partitions) === part) d.unchecked.push(event);
  forget(d, attempt!.owner);
}

function refuse(d: State, index: number, heavy: boolean): void {
  const { owner, ahead } = d.attempts[index]!;
  finish(d, index, 'refused');
  const batch = d.streamers[owner]?.batch;
  if (batch === undefined || ahead) return;
  batch.heavy = heavy;
  if (heavy && batch.rows.length === 1) batch.heavyTimes = Math.min(LASTING, batch.heavyTimes + 1);
}

/** A view's fault is no row's: the same insert again. */
function failView(d: State, index: number): void {
  const { owner, ahead } = d.attempts[index]!;
  finish(d, index, 'refused');
  const batch = d.streamers[owner]?.batch;
  if (batch === undefined || ahead) return;
  batch.state = UNSENT;
  batch.viewFailed = true;
}

function finish(d: State, index: number, outcome: 'answered' | 'refused', counts = false): void {
  const [attempt] = d.attempts.splice(index, 1);
  const { owner, ahead } = attempt!;
  if (owner === RETRY) {
    if (outcome === 'answered') d.retry!.state = counts ? 'answered' : 'there';
    else d.retry = undefined;
    return;
  }
  const streamer = d.streamers[owner];
  const batch = streamer?.batch;
  if (streamer === undefined || batch === undefined) return;
  if (outcome === 'answered') streamer.vouchedFor = VOUCHES_FOR;
  else if (!ahead && !batch.part) streamer.vouchedFor = 0;
  if (ahead) {
    // whether it was taken or refused, the event that was refused is asked for once more
    streamer.ahead = undefined;
    if (outcome === 'answered') streamer.readBackBefore = undefined;
    batch.state = UNSENT;
  } else if (outcome === 'answered') batch.state = batch.counts ? UNCOUNTED : ANSWERED;
  else batch.state = REFUSED;
}

/** Whoever waited does not know what became of it. */
function forget(d: State, owner: number): void {
  if (owner === RETRY) d.retry = undefined;
  const streamer = d.streamers[owner];
  const batch = streamer?.batch;
  if (streamer === undefined || batch === undefined) return;
  batch.state = UNSENT;
  if (streamer.ahead === undefined) batch.lone = false;
  streamer.ahead = undefined;
  streamer.readBackBefore = undefined;
}

function windowSteps(steps: Steps): void {
  const { s, world } = steps;
  for (const [index, { old }] of s.remembered.entries()) {
    if (old) steps.add('ClickHouse forgets a token', (d) => void d.remembered.splice(index, 1));
  }
  const isPending = s.ledger.pending !== undefined;
  if ((isPending || s.remembered.length > 0) && (s.attempts.length === 0 || world.without('longInserts'))) {
    steps.fault('time', 'TIME PASSES beyond the trust in tokens', (d) => {
      for (const token of d.remembered) token.old = true;
      age(d.ledger);
      if (d.replica !== undefined) d.replica = { ...d.replica, ledger: age({ ...d.replica.ledger }) };
      for (const { row, batch } of d.streamers) {
        age(row);
        if (batch !== undefined && !world.without('readBackOnceAttached')) batch.old = true;
      }
      if (!world.without('longInserts')) outlast(d);
      if (d.retry?.state === 'absent' && !world.without('longInserts')) d.retry.state = 'locked';
    });
  }
  if (s.attempts.length === 0) {
    steps.fault('windowOff', "THE TABLE'S WINDOW IS SWITCHED OFF", (d) => {
      d.window = 'off';
      d.remembered = [];
    });
  }
  // an insert that is under way would go into the former table, and be answered
  if (s.attempts.length === 0 && s.window === 'on') {
    steps.fault('tableReplaced', 'A COPY TAKES THE NAME OF THE TABLE', (d) => {
      d.window = 'replaced';
      d.remembered = [];
    });
  }
  if (s.window === 'replaced' && !isPending) {
    steps.add('the ledger names the other table', (d) => {
      d.window = 'on';
    });
  }
  if (s.window === 'seen off' || (s.window === 'off' && !isPending)) {
    steps.add("the table's window is switched on", (d) => {
      d.window = 'on';
    });
  }
}

const remembers = ({ window }: State): boolean => window === 'on' || window === 'replaced';

function age(row: Row): Row {
  if (row.pending !== undefined) row.pending = { ...row.pending, old: true };
  return row;
}

/** By the number of blocks since: what took the insert, the table or the view's target, still knows its token. */
export function isRemembered({ s, world }: Steps, { todo, rows, token }: Attempt): boolean {
  return todo.every((part) => {
    if (part === VIEW && world.without('viewsUncounted')) return true;
    const took = rows.some((event) =>
      part === VIEW ? s.view[event]! > 0 : partitionOf(event, world.partitions) === part && s.table[event]! > 0,
    );
    return !took || s.remembered.some((known) => known.part === part && known.token === token);
  });
}

export function attemptOf(steps: Steps, owner: number, token: Token, rows: readonly EventId[], ahead = false): Attempt {
  const { world } = steps;
  const todo = [...new Set(rows.map((event) => partitionOf(event, world.partitions)))].toSorted((a, b) => a - b);
  if (world.view) todo.push(VIEW);
  return { owner, token, rows, todo, touched: false, ahead };
}

export function sent(batch: Batch): void {
  batch.state = SENT;
  batch.mayBeThere = true;
}

/** A look-up waits until the replica that answers has fetched what the others took, and has removed what is its own alone. */
export function isBehind(steps: Steps): boolean {
  const { s, world } = steps;
  return (s.unchecked.length > 0 && !world.without('lookUpUnchecked')) || isLagging(steps);
}

/** It has not fetched what the others took. What an answer follows may be counted there. */
export function isLagging({ s, world }: Steps): boolean {
  return s.unfetched.length > 0 && !world.without('lookUpBehind') && !world.without('lookUpUnheld');
}

/** Whether a look-up finds an event. */
export function isFound({ s, world }: Steps, event: EventId): boolean {
  if (s.unchecked.includes(event)) return true;
  return s.table[event]! > 0 && (world.without('lookUpUnheld') || !s.unfetched.includes(event));
}

const partitionOf = (event: EventId, partitions: number): number => event % partitions;
const formatToken = (token: Token): string => (token >= 100 && token < 200 ? `of row ${token - 100}` : String(token));
