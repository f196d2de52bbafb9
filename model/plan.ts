import { copy, lsnOf, startOf } from './state.ts';
import type { EventId, Fault, Faults, Lsn, Position, Row, State, Streamer, Token } from './state.ts';
import { CUT_OFF, DOWN, NOBODY } from './state.ts';
import type { Step } from './explore.ts';
import type { Broken } from './rules.ts';

/** A small world: what is committed, who streams it, and what may go wrong how often. */
export interface Plan {
  /** Events of each transaction; none is WAL of other tables. */
  readonly transactions: readonly number[];
  /** How many of them are committed when it begins. */
  readonly committed?: number;
  readonly streamers?: 1 | 2;
  readonly maxRows?: number;
  readonly partitions?: 1 | 2;
  readonly view?: boolean;
  /** The table is replicated: look-ups and inserts may reach another replica each time. */
  readonly replicas?: boolean;
  /** An insert is answered once the other replica has it as well (OUTBOX_INSERT_QUORUM). */
  readonly quorum?: boolean;
  /** The operator calls `quarantine retry` until the quarantine is empty. */
  readonly retry?: boolean;
  /** Rows that are refused until what refuses them is fixed. */
  readonly poison?: readonly EventId[];
  /** Rows that alone take more memory or time than there ever is. */
  readonly large?: readonly EventId[];
  readonly faults?: Partial<Faults>;
  /** The standby never lacks what was streamed (synchronized_standby_slots). */
  readonly slotsWaitForStandby?: boolean;
  /** No event of a lost transaction may be in ClickHouse. */
  readonly noLostEvents?: boolean;
  readonly broken?: readonly Broken[];
}

/** A plan with its defaults, and what follows from it alone. */
export class World {
  readonly transactions: readonly number[];
  readonly committed: number;
  readonly streamers: number;
  readonly maxRows: number;
  readonly partitions: number;
  readonly view: boolean;
  readonly replicas: boolean;
  readonly quorum: boolean;
  readonly retry: boolean;
  readonly poison: readonly EventId[];
  readonly large: readonly EventId[];
  readonly faults: Partial<Faults>;
  readonly slotsWaitForStandby: boolean;
  readonly noLostEvents: boolean;
  /** Transaction of each event, and its number there from 1. */
  readonly events: readonly { readonly transaction: number; readonly seq: number }[];
  readonly #broken: ReadonlySet<Broken>;

  constructor(plan: Plan) {
    this.transactions = plan.transactions;
    this.committed = plan.committed ?? 0;
    this.streamers = plan.streamers ?? 1;
    this.maxRows = plan.maxRows ?? 9;
    this.partitions = plan.partitions ?? 1;
    this.view = plan.view ?? false;
    this.quorum = plan.quorum ?? false;
    this.replicas = plan.replicas ?? this.quorum;
    this.retry = plan.retry ?? false;
    this.poison = plan.poison ?? [];
    this.large = plan.large ?? [];
    this.faults = plan.faults ?? {};
    this.slotsWaitForStandby = plan.slotsWaitForStandby ?? false;
    this.noLostEvents = plan.noLostEvents ?? false;
    this.#broken = new Set(plan.broken);
    this.events = plan.transactions.flatMap((count, transaction) =>
      Array.from({ length: count }, (_, index) => ({ transaction, seq: index + 1 })),
    );
  }

  without(rule: Broken): boolean {
    return this.#broken.has(rule);
  }

  positionOf(s: State, event: EventId): Position {
    const { transaction, seq } = this.events[event]!;
    return startOf(s.lsnOf[transaction]!) + seq;
  }

  isInWal(s: State, event: EventId): boolean {
    const { transaction } = this.events[event]!;
    return s.wal[s.lsnOf[transaction]!] === transaction;
  }

  /** Events of the WAL in (from, to], in order. */
  range(s: State, from: Position, to: Position): EventId[] {
    const found: EventId[] = [];
    for (let event = 0; event < this.events.length; event++) {
      if (!this.isInWal(s, event)) continue;
      const position = this.positionOf(s, event);
      if (position > from && position <= to) found.push(event);
    }
    return found;
  }

  /** End of the last transaction with events that lies wholly in what is delivered. */
  ackable(s: State, delivered: Position): Lsn {
    let endLsn = 0;
    for (const [lsn, transaction] of s.wal.entries()) {
      const count = this.transactions[transaction]!;
      if (count > 0 && startOf(lsn) + count <= delivered) endLsn = lsn + 1;
    }
    return endLsn > 0 && this.without('ackPastEnd') ? endLsn + 1 : endLsn;
  }

  /** How far the walsender sends what a session takes. */
  taken(s: State, { ends }: Row): Lsn {
    return Math.min(this.visible(s), ends ?? Infinity);
  }

  /** How far the walsender sends. */
  visible({ wal, replica }: State): Lsn {
    return this.slotsWaitForStandby && replica !== undefined ? replica.walEnd : wal.length;
  }

  isThere(s: State, event: EventId): boolean {
    return s.table[event]! > 0 || s.quarantine.includes(event);
  }
}

/** Collects what can happen in one state. */
export class Steps {
  readonly world: World;
  readonly s: State;
  readonly all: Step<State>[] = [];
  readonly #normalize: (draft: State) => State;

  constructor(world: World, s: State, normalize: (draft: State) => State) {
    this.world = world;
    this.s = s;
    this.#normalize = normalize;
  }

  add(name: string, change: (draft: State) => void, detail?: () => string): void {
    const draft = copy(this.s);
    change(draft);
    this.all.push({ name, detail, next: this.#normalize(draft) });
  }

  /** The same, as long as the world's stock of this fault lasts. */
  fault(fault: Fault, name: string, change: (draft: State) => void, detail?: () => string): void {
    if (this.s.left[fault] === 0) return;
    const spend = (draft: State): void => {
      draft.left[fault]--;
      change(draft);
    };
    this.add(name, spend, detail);
  }
}

export const NO_ROW: Row = {
  timeline: 0,
  delivered: 0,
  pending: undefined,
  readBackBelow: 0,
  acked: 0,
  ends: undefined,
};

export function downStreamer(): Streamer {
  return {
    phase: DOWN,
    mine: false,
    link: CUT_OFF,
    proven: false,
    row: { ...NO_ROW },
    cut: 0,
    batch: undefined,
    held: false,
    absent: [],
    vouchedFor: 0,
    ahead: undefined,
    readBackBefore: undefined,
  };
}

/** Nothing of a session outlives it but the attempts that nobody waits for any more. */
export function end(draft: State, i: number): void {
  draft.streamers[i] = downStreamer();
  for (const attempt of draft.attempts) if (attempt.owner === i) attempt.owner = NOBODY;
}

/** Who has no session or proof of his own any more can send nothing: D has passed, and L for what was sent. */
export function outlast(draft: State): void {
  for (const streamer of draft.streamers) streamer.proven = streamer.mine && streamer.link !== CUT_OFF;
  if (draft.retry !== undefined) draft.retry.proven = draft.retry.locked;
}

export function tokensInUse(s: State): Set<Token> {
  const used = new Set<Token>();
  const add = (item: { readonly token: Token } | undefined): void => {
    if (item !== undefined) used.add(item.token);
  };
  add(s.ledger.pending);
  add(s.before?.pending);
  add(s.replica?.ledger.pending);
  for (const { was, set } of s.late) {
    add(was.pending);
    add(set?.pending);
  }
  for (const { row, batch } of s.streamers) {
    add(row.pending);
    add(batch);
  }
  s.attempts.forEach(add);
  if (s.repair !== undefined) used.add(tokenOfRepair(s.repair.rows));
  // the operator calls retry again as long as the row is there
  const retried = s.retry === undefined ? s.quarantine : [...s.quarantine, s.retry.event];
  for (const event of retried) for (const dropped of [0, 1]) used.add(tokenOfQuarantined(event, dropped));
  return used;
}

/** A nonce: a number that nobody uses. */
export function freshToken(s: State): Token {
  const used = tokensInUse(s);
  let token = 1;
  while (used.has(token)) token++;
  return token;
}

/** The token of `quarantine retry` for a row: always the same, until ClickHouse knows it and has no row. */
export const tokenOfQuarantined = (event: EventId, dropped = 0): Token => 100 + event + dropped * 50;

/** The token of a repair for some rows: always the same. */
export const tokenOfRepair = (rows: readonly EventId[]): Token =>
  rows.reduce((token, event) => token + (1 << event), 200);

export const isBelow = (position: Position | undefined, lsn: Lsn): boolean =>
  position !== undefined && lsnOf(position) < lsn;
