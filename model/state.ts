/** LSN of a transaction: its index in the WAL. The end LSN of one is the commit LSN of the next, the tightest case. */
export type Lsn = number;
/** LSN * 4 + number of the event in its transaction, from 1; 0 in the place of the number: before the transaction. */
export type Position = number;
/** Numbered over all transactions of the plan, which come back no more when they are lost. */
export type EventId = number;
/** Deduplication token: the smallest number that nobody uses any more stands for a nonce. */
export type Token = number;

export interface Pending {
  readonly to: Position;
  readonly token: Token;
  readonly rows: readonly EventId[];
  /** Recorded so long ago that the token is not trusted any more. */
  readonly old: boolean;
}

/** outbox.stream. The epoch is not here: all that matters is whose it is (Streamer.mine). */
export interface Row {
  timeline: number;
  delivered: Position;
  pending: Pending | undefined;
  readBackBelow: Lsn;
  acked: Lsn;
  /** From here on other slots deliver: `reshard`. */
  ends: Lsn | undefined;
}

/** What a streamer's UPDATE sets. */
export type Written = Pick<Row, 'delivered' | 'pending' | 'acked' | 'readBackBelow'> & {
  readonly quarantined?: EventId | undefined;
};

/** An UPDATE whose connection is lost: it executes later, or never. Without `set`: a take. */
export interface LateWrite {
  readonly was: Row;
  readonly set: Written | undefined;
}

/** So often a row alone is refused for want of memory before it may be the row's fault. */
export const LASTING = 4;

export const UNSENT = 0;
export const SENT = 1;
export const REFUSED = 2;
export const ANSWERED = 3;
/** Answered after an attempt whose outcome is unknown: "known already" is not "there" on a replicated table. */
export const UNCOUNTED = 4;

export interface Batch {
  readonly to: Position;
  /** The ledger's, until a read-back has found rows missing. */
  token: Token;
  readonly rows: readonly EventId[];
  /** What is sent: all rows, or those that the read-back did not find. */
  send: readonly EventId[];
  state: typeof UNSENT | typeof SENT | typeof REFUSED | typeof ANSWERED | typeof UNCOUNTED;
  /** An attempt was made, by us or before us. */
  mayBeThere: boolean;
  /** Its answer is to be counted, see UNCOUNTED. */
  counts: boolean;
  /** No older attempt of the range can be under way. */
  lone: boolean;
  /** The token may be forgotten. */
  old: boolean;
  /** To be read back before it is sent at all. */
  readBack: boolean;
  /** Refused for want of memory or time, not for a row. */
  heavy: boolean;
  /** How often that was so of a row alone: up to LASTING. */
  heavyTimes: number;
  /** Split from a refused insert, or refused and alone. */
  part: boolean;
  /** Refused by the view in this session, which counts the blocks that the table got since. */
  viewFailed: boolean;
}

export const DOWN = 0;
/** Holds the slot. */
export const ATTACHED = 1;
/** Has taken the ledger, has not yet compared it with ClickHouse. */
export const TAKEN = 2;
export const LIVE = 3;
/** Ended with a code that wants an operator. */
export const STOPPED = 4;

/** Connections to Postgres: none, only that of the statements, also that of the stream. */
export const CUT_OFF = 0;
export const STATEMENTS = 1;
export const STREAM = 2;

export interface Streamer {
  phase: typeof DOWN | typeof ATTACHED | typeof TAKEN | typeof LIVE | typeof STOPPED;
  /** The ledger's epoch is ours. */
  mine: boolean;
  link: typeof CUT_OFF | typeof STATEMENTS | typeof STREAM;
  /** The last proof of the epoch is younger than D. */
  proven: boolean;
  /** The ledger row as last read or written. */
  row: Row;
  /** End of what was cut, or of what is skipped. */
  cut: Position;
  batch: Batch | undefined;
  /** The stream has not passed the WAL of a row put into quarantine: nothing more may be acknowledged. */
  held: boolean;
  /** Rows that this session knows not to be there: their insert was refused, and looked for. */
  absent: readonly EventId[];
  /** How many may go to quarantine yet: the table has taken another event since rows were first refused. */
  vouchedFor: number;
  /** A later event that is sent before its turn, to see whether the table takes it. */
  ahead: EventId | undefined;
  /** What was to be read back before an event went ahead that the table has refused: nothing of it is there. */
  readBackBefore: Lsn | undefined;
}

/** One attempt of an INSERT that ClickHouse has not finished, or whose answer is not read yet. */
export interface Attempt {
  /** Index of the streamer that waits for the answer; RETRY; NOBODY. */
  owner: number;
  readonly token: Token;
  readonly rows: readonly EventId[];
  /** Partitions still to be written, and VIEW. */
  todo: number[];
  touched: boolean;
  /** Of an event before its turn. */
  readonly ahead: boolean;
}
export const NOBODY = 9;
export const RETRY = 8;
export const VIEW = 7;

/** A token that ClickHouse remembers, for one partition or the view. */
export interface Remembered {
  readonly part: number;
  readonly token: Token;
  /** Outside the window by now: may be forgotten. */
  old: boolean;
}

/** What a standby, or a snapshot of the disk, has. Its WAL is a prefix. */
export interface Replica {
  readonly walEnd: Lsn;
  readonly confirmedFlush: Lsn;
  readonly ledger: Row;
  readonly quarantine: readonly EventId[];
}

/** `quarantine retry`, holding the lock of the row. */
export interface Retry {
  readonly event: EventId;
  state: 'locked' | 'absent' | 'sent' | 'answered' | 'there';
  /** How often it was answered and not there: each time another token. */
  dropped: number;
  proven: boolean;
  /** The Postgres that gave the lock is still there. */
  locked: boolean;
}

export type Fault =
  /** A streamer dies, or a connection of it. */
  | 'crash'
  /** An answer of ClickHouse is lost, or an insert fails midway. */
  | 'lostAnswer'
  /** The answer of a ledger write is lost; the write may execute late. */
  | 'lostWrite'
  /** Postgres crashes: confirmed_flush is set back. */
  | 'postgresCrash'
  /** A standby streamer terminates the holder's walsender. */
  | 'takeover'
  | 'heal'
  | 'failover'
  /** A snapshot of the disk is restored, on the same timeline. */
  | 'restore'
  /** Time passes beyond the token trust. */
  | 'time'
  | 'windowOff'
  /** Another table that was filled from the target takes its name. */
  | 'tableReplaced'
  | 'memory'
  | 'viewBreaks'
  /** The table refuses every row until it is fixed. */
  | 'tableBreaks'
  /** The commit of a part has no answer, and the replica removes the part although the token is known (ClickHouse#112149). */
  | 'partDropped'
  /** The commit of a part has no answer, and Keeper does not know it: the replica shows the part, and removes it minutes later. */
  | 'partUnknown'
  /** The replica that alone has a part was away when another looked for it: the part is removed, and its token forgotten. */
  | 'quorumFails'
  | 'slotRecreated'
  /** Other shares take over, from a position on. */
  | 'reshard'
  | 'detach'
  | 'killRetry';

export type Faults = Record<Fault, number>;

export interface State {
  wal: number[];
  /** The LSN each transaction got, also when it is lost since; -1 before it commits. */
  lsnOf: Lsn[];
  timeline: number;
  confirmedFlush: Lsn;
  ledger: Row;
  /** The row before the last write, where a crash may bring it back. */
  before: Row | undefined;
  late: LateWrite[];
  quarantine: EventId[];
  replica: Replica | undefined;
  streamers: Streamer[];
  retry: Retry | undefined;
  attempts: Attempt[];
  remembered: Remembered[];
  /** How often each event is in the table, and was counted by the view. */
  table: number[];
  view: number[];
  /** Events that only the replica has which took them; look-ups may be answered by another. */
  unfetched: EventId[];
  /** Events of parts that a replica shows and Keeper does not know. */
  unchecked: EventId[];
  /** Whose delivered_at each row of the table has, as far as anybody may still ask: the token of its insert, or 0. */
  stamps: Token[];
  /** OUTBOX_CH_VIEWS_UNPROVEN was said of them. */
  unproven: EventId[];
  /** `quarantine retry` has sent them. */
  retried: EventId[];
  healed: boolean;
  viewBroken: boolean;
  tableBroken: boolean;
  /** `replaced`: it is on, in another table than the ledger names. */
  window: 'on' | 'off' | 'seen off' | 'replaced';
  /** The slot was made again by hand: 1 nothing was lost by it, 2 events were. */
  slotChanged: number;
  /** `reshard`: 1 the ledger ends for now, 2 others deliver from its end on. */
  resharded: number;
  left: Faults;
  /** There is no slot, and nobody takes the ledger. */
  detached: boolean;
  /** A repair after that: the end of its snapshot, and what was missing. */
  repair: { readonly upTo: Lsn; readonly rows: readonly EventId[] } | undefined;
  /** What a step did wrong, where the state alone does not show it. */
  wrong: string | undefined;
}

export const nameOf = (streamer: number): string => 'AB'[streamer]!;
export const lsnOf = (position: Position): Lsn => position >> 2;
export const startOf = (lsn: Lsn): Position => lsn * 4;
export const formatPosition = (position: Position): string =>
  position === 0 ? 'start' : `${lsnOf(position)}.${position & 3}`;

export const copyRow = (row: Row): Row => ({ ...row });

/** A copy to be changed; what is readonly all through is shared. */
export function copy(s: State): State {
  return {
    ...s,
    wal: s.wal.slice(),
    lsnOf: s.lsnOf.slice(),
    ledger: { ...s.ledger },
    late: s.late.slice(),
    quarantine: s.quarantine.slice(),
    streamers: s.streamers.map((me) => ({
      ...me,
      row: { ...me.row },
      batch: me.batch === undefined ? undefined : { ...me.batch },
    })),
    retry: s.retry === undefined ? undefined : { ...s.retry },
    attempts: s.attempts.map((attempt) => ({ ...attempt })),
    remembered: s.remembered.map((token) => ({ ...token })),
    table: s.table.slice(),
    unfetched: s.unfetched.slice(),
    unchecked: s.unchecked.slice(),
    view: s.view.slice(),
    stamps: s.stamps.slice(),
    left: { ...s.left },
  };
}
