import { clickhouseSteps } from './clickhouse.ts';
import { encode } from './encode.ts';
import type { Model, Step } from './explore.ts';
import { detachSteps } from './detach.ts';
import { downStreamer, NO_ROW, Steps, tokensInUse, World, type Plan } from './plan.ts';
import { postgresSteps } from './postgres.ts';
import { retrySteps } from './retry.ts';
import {
  DOWN,
  LIVE,
  lsnOf,
  NOBODY,
  REFUSED,
  startOf,
  STOPPED,
  STREAM,
  UNSENT,
  type Faults,
  type State,
} from './state.ts';
import { sessionSteps } from './session.ts';

const NO_FAULTS: Faults = {
  crash: 0,
  lostAnswer: 0,
  lostWrite: 0,
  postgresCrash: 0,
  takeover: 0,
  heal: 0,
  failover: 0,
  restore: 0,
  time: 0,
  windowOff: 0,
  tableReplaced: 0,
  memory: 0,
  viewBreaks: 0,
  tableBreaks: 0,
  partDropped: 0,
  partUnknown: 0,
  quorumFails: 0,
  slotRecreated: 0,
  reshard: 0,
  detach: 0,
  killRetry: 0,
};

/** The delivery protocol in a small world. */
export class Protocol implements Model<State> {
  readonly #world: World;

  constructor(plan: Plan) {
    this.#world = new World(plan);
  }

  initial(): State {
    const { transactions, committed, streamers, events, faults, view } = this.#world;
    return {
      wal: Array.from({ length: committed }, (_, lsn) => lsn),
      lsnOf: transactions.map((_, transaction) => (transaction < committed ? transaction : -1)),
      timeline: 0,
      confirmedFlush: 0,
      ledger: { ...NO_ROW },
      before: undefined,
      late: [],
      quarantine: [],
      replica: undefined,
      streamers: Array.from({ length: streamers }, downStreamer),
      retry: undefined,
      attempts: [],
      remembered: [],
      table: events.map(() => 0),
      view: view ? events.map(() => 0) : [],
      unfetched: [],
      unchecked: [],
      stamps: events.map(() => 0),
      unproven: [],
      retried: [],
      healed: false,
      viewBroken: false,
      tableBroken: false,
      window: 'on',
      slotChanged: 0,
      resharded: 0,
      detached: false,
      repair: undefined,
      left: { ...NO_FAULTS, ...faults },
      wrong: undefined,
    };
  }

  steps(s: State): Step<State>[] {
    if (s.wrong !== undefined) return [];
    const steps = new Steps(this.#world, s, (draft) => this.#normalize(draft));
    postgresSteps(steps);
    clickhouseSteps(steps);
    for (const i of s.streamers.keys()) sessionSteps(steps, i);
    retrySteps(steps);
    detachSteps(steps);
    return steps.all;
  }

  /** Drops what nobody can notice any more. */
  #normalize(d: State): State {
    const world = this.#world;
    d.attempts = d.attempts.filter(({ owner, todo }) => owner !== NOBODY || todo.length > 0);
    for (const [i, me] of d.streamers.entries()) {
      if (me.phase === DOWN || me.phase === STOPPED) continue;
      const isZombie = !me.mine && me.phase === LIVE;
      const waits = d.attempts.some(({ owner }) => owner === i);
      const canSend = me.proven && me.batch !== undefined && me.batch.state <= 1;
      // waiting for an answer, without another attempt to follow, is as good as an attempt of nobody
      if (
        isZombie &&
        me.link < STREAM &&
        !waits &&
        !canSend &&
        !world.without('noEpochCheckOnIntent') &&
        !world.without('noEpochCheckOnSettle') &&
        !world.without('keepMemory')
      )
        d.streamers[i] = downStreamer();
    }
    const used = tokensInUse(d);
    if (d.remembered.length > 0 && !world.without('rangeToken')) {
      d.remembered = d.remembered.filter(({ token }) => used.has(token));
    }
    d.stamps = d.stamps.map((token) => (world.faults.restore !== undefined && used.has(token) ? token : 0));
    return d;
  }

  key(s: State): string {
    const { streamers, attempts, ...rest } = s;
    rest.remembered = rest.remembered.toSorted((a, b) => a.part - b.part || a.token - b.token);
    const start = encode(rest);
    const spell = (order: readonly number[]): string => {
      const owners = attempts.map((attempt) =>
        encode({ ...attempt, owner: attempt.owner < 2 ? order[attempt.owner] : attempt.owner }),
      );
      return order.map((i) => encode(streamers[i])).join('') + owners.toSorted().join('');
    };
    if (streamers.length === 1) return start + spell([0]);
    const one = spell([0, 1]);
    const two = spell([1, 0]);
    return start + (one < two ? one : two);
  }

  violation(s: State): string | undefined {
    if (s.wrong !== undefined) return s.wrong;
    const world = this.#world;
    const quiet = s.attempts.length === 0 && s.streamers.every(({ batch }) => batch?.state !== UNSENT);
    for (let event = 0; event < world.events.length; event++) {
      const rows = s.table[event]!;
      if (rows > 1) return `twice: event ${event} is in the table twice`;
      if (world.view && s.view[event]! > 1) return `twice: the view counts event ${event} twice`;
      if (rows > 0 && s.quarantine.includes(event) && !s.retried.includes(event))
        return `twice: event ${event} is in the table and in quarantine`;
      if (!world.isInWal(s, event)) {
        if (rows > 0 && world.noLostEvents) return `undone: event ${event} is in the table, its transaction is lost`;
        continue;
      }
      if (s.quarantine.includes(event) && !world.poison.includes(event) && !world.large.includes(event))
        return `needless: event ${event} is in quarantine, and nothing was wrong with it`;
      const position = world.positionOf(s, event);
      if (s.resharded === 2 && rows > 0 && lsnOf(position) >= s.ledger.ends!)
        return `strayed: event ${event} is another share's, and in the table`;
      const isThere = world.isThere(s, event);
      if (!isThere && lsnOf(position) < s.confirmedFlush && s.slotChanged < 2)
        return `lost: confirmed_flush ${s.confirmedFlush} has passed event ${event}, which is not delivered`;
      if (position > s.ledger.delivered) continue;
      if (!isThere) return `claimed: the ledger says that event ${event} is delivered, and it is not`;
      if (world.view && quiet && s.view[event] === 0 && !s.quarantine.includes(event) && !s.unproven.includes(event))
        return `uncounted: event ${event} is delivered, the view has not counted it`;
    }
    return undefined;
  }

  /** All is committed, delivered and acknowledged; nothing is under way. */
  isGood(s: State): boolean {
    if (s.slotChanged > 0 && s.streamers.some(({ phase }) => phase === STOPPED)) return true;
    const world = this.#world;
    if (this.#waitsForNeighbour(s)) return true;
    return (
      !s.lsnOf.includes(-1) &&
      s.attempts.length === 0 &&
      s.late.length === 0 &&
      !s.detached &&
      s.confirmedFlush === Math.min(s.wal.length, s.ledger.ends ?? Infinity) &&
      s.retry === undefined &&
      !(world.retry && s.quarantine.length > 0) &&
      s.streamers.some(
        ({ phase, mine, link, batch, row, cut }) =>
          phase === LIVE &&
          mine &&
          link === STREAM &&
          batch === undefined &&
          row.pending === undefined &&
          world.range(s, cut, startOf(world.taken(s, row))).length === 0,
      )
    );
  }

  /** A refused event is the last that is not there, and waits for another: nothing waits for it. */
  #waitsForNeighbour(s: State): boolean {
    const world = this.#world;
    return (
      !s.lsnOf.includes(-1) &&
      s.attempts.length === 0 &&
      s.streamers.some(
        ({ phase, mine, link, batch, row, vouchedFor }) =>
          phase === LIVE &&
          mine &&
          link === STREAM &&
          vouchedFor === 0 &&
          batch?.state === REFUSED &&
          batch.rows.length === 1 &&
          (world.poison.includes(batch.rows[0]!) || world.large.includes(batch.rows[0]!)) &&
          world.range(s, batch.to, startOf(world.taken(s, row))).every((event) => s.table[event]! > 0),
      )
    );
  }
}
