import { ERRORS, OutboxError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';
import { Measures } from './measures.ts';

/** A holder looks at its slot every two seconds, a standby twice a second. */
const SILENT_AFTER_MS = 5000;
/** Inserts take a second or two; who waits for a server that hangs, waits for longer. */
export const STALLED_AFTER_MS = 15_000;

/** How much WAL the slot has left. */
export interface SlotStatus {
  /** As in pg_replication_slots. */
  readonly walStatus: string;
  /** Bytes that may be written before the slot may be lost; undefined without max_slot_wal_keep_size. */
  readonly safeWalBytes: number | undefined;
  /** Minutes until then at the present rate; undefined when there is no end to be seen. */
  readonly runwayMinutes: number | undefined;
  /** It is about to be lost (OUTBOX_SLOT_ENDANGERED). */
  readonly endangered: boolean;
}

/** What of WAL is not acknowledged. */
export interface Lag {
  readonly bytes: number;
  /** How long ago the oldest of it was written, at least: what was before this process began is not known. 0 while only a little is. */
  readonly ms: number;
}

/** Why events do not flow. */
export interface Reason {
  readonly code: ErrorCode;
  /** What exactly, without payloads, passwords or URLs. */
  readonly detail: string;
}

/** How the last retention went, and what the last one found that did not fail. Times are ms since 1970. */
export interface RetentionStatus {
  readonly ranAt: number;
  /** How often a table was emptied, or freed of expired rows, since this process began. */
  readonly emptied: number;
  /** Rows of outbox.event, as Postgres estimates; undefined while every run has failed. */
  readonly rows: number | undefined;
  /** Bytes of outbox.event, with indexes; undefined while every run has failed. */
  readonly bytes: number | undefined;
  /** When the oldest row was recorded; undefined without rows, too. */
  readonly oldestAt: number | undefined;
  /** Why the run failed, or why expired rows stay, or stayed too long. */
  readonly problem: ErrorCode | undefined;
}

/** What `/readyz` answers. */
export interface Readiness {
  /** This process delivers, or would take over at once from the one that does. */
  readonly ready: boolean;
  readonly state: 'starting' | 'streaming' | 'standing by' | 'not streaming';
  /** Empty when ready. */
  readonly reasons: readonly Reason[];
  readonly lag?: Lag;
  readonly slot?: SlotStatus;
  readonly retention?: RetentionStatus;
}

export interface StatusOptions {
  /** 0 for no limit. */
  readonly maxLagMs?: number;
  /** Monotonic, ms. */
  readonly now?: () => number;
}

/** Where the streamer stands and what it has done: written by who knows, read by who is asked, for readiness and for metrics. */
export class Status {
  readonly measures = new Measures();
  readonly #maxLagMs: number;
  readonly #now: () => number;
  #state: Readiness['state'] = 'starting';
  /** Why it does not stream. */
  #ended: Reason | undefined;
  /** The last sign of life of Postgres. */
  #heardAt = 0;
  /** ClickHouse has answered an insert, or a check of the table before it, well or not. */
  #isDelivering = false;
  /** What those met last that go on trying. */
  readonly #failing = new Map<object, ErrorCode>();
  /** When each insert began whose answer is waited for. */
  readonly #inserting = new Set<{ readonly since: number }>();
  #probed: Reason | undefined;
  #slot: SlotStatus | undefined;
  #lag: Lag | undefined;
  /** The slot was seen since the last session ended. */
  #hasLooked = false;
  #retention: RetentionStatus | undefined;

  constructor({ maxLagMs = 0, now = () => performance.now() }: StatusOptions = {}) {
    this.#maxLagMs = maxLagMs;
    this.#now = now;
  }

  streaming(): void {
    this.#state = 'streaming';
    this.#heardAt = this.#now();
  }

  /** Another streamer holds the slot; this one would take over. To be said as often as that is seen. */
  standingBy(): void {
    this.#state = 'standing by';
    this.#forgetDelivery();
    this.#heardAt = this.#now();
  }

  notStreaming(error: unknown): void {
    this.#state = 'not streaming';
    this.#forgetDelivery();
    this.#ended = reasonOf(error);
    // it is in no less danger while sessions fail that get as far as to look at it
    if (!this.#hasLooked || /^OUTBOX_SLOT_(MISSING|INVALID)$/.test(this.#ended.code)) {
      this.#slot = undefined;
      this.#lag = undefined;
      this.measures.slot = undefined;
    }
    this.#hasLooked = false;
    this.measures.sessionFailed(error instanceof OutboxError ? error.code : undefined);
  }

  /** @param work what is repeated until it is answered: there may be several at a time */
  clickhouseAnswered(work: object): void {
    this.#isDelivering = true;
    this.#failing.delete(work);
  }

  clickhouseFailed(work: object, code: ErrorCode): void {
    this.#isDelivering = true;
    this.#failing.set(work, code);
    this.measures.retried(code);
  }

  /** An insert is sent. Returns what is to be called when it has ended. */
  inserting(): () => void {
    const insert = { since: this.#now() };
    this.#inserting.add(insert);
    return () => void this.#inserting.delete(insert);
  }

  /** Whether ClickHouse would take an insert now, asked beside those that are under way. */
  clickhouseProbed(fault: Reason | undefined): void {
    this.#probed = fault;
  }

  slotSeen(slot: SlotStatus, lag: Lag): void {
    this.#slot = slot;
    this.#lag = lag;
    this.#hasLooked = true;
    this.#heardAt = this.#now();
  }

  /** Counts only while this process streams: a run may outlive its session. */
  retained(retention: RetentionStatus): void {
    if (this.#state === 'streaming') this.#retention = retention;
  }

  get state(): Readiness['state'] {
    return this.#state;
  }

  /** Undefined before the first answer, and for who does not stream. */
  get isClickHouseWritable(): boolean | undefined {
    if (this.#state !== 'streaming' || !this.#isDelivering) return undefined;
    return this.#clickhouseReasons().length === 0;
  }

  /** As in pg_replication_slots, as long as it can be used; undefined before the first look. */
  get slotState(): string | undefined {
    const code = this.#state === 'not streaming' ? this.#ended?.code : undefined;
    if (code === 'OUTBOX_SLOT_MISSING') return 'missing';
    return code === 'OUTBOX_SLOT_INVALID' ? 'invalid' : this.measures.slot?.walStatus;
  }

  /** Ready is who streams and can write, or who would take over. */
  get readiness(): Readiness {
    const reasons = this.#reasons();
    return {
      ready: reasons.length === 0,
      state: this.#state,
      reasons,
      ...(this.#lag === undefined ? {} : { lag: this.#lag }),
      ...(this.#slot === undefined ? {} : { slot: this.#slot }),
      ...(this.#retention === undefined ? {} : { retention: this.#retention }),
    };
  }

  /** Who streams from now on knows better. */
  #forgetDelivery(): void {
    this.#isDelivering = false;
    this.#failing.clear();
    this.#retention = undefined;
  }

  #reasons(): Reason[] {
    const found = [...this.#postgresReasons(), ...this.#clickhouseReasons()];
    const { ms = 0 } = this.#lag ?? {};
    // a standby cannot help it
    if (this.#state === 'streaming' && this.#maxLagMs > 0 && ms > this.#maxLagMs)
      found.push({
        code: 'OUTBOX_FLOW_LATE',
        detail: `the oldest WAL that is not acknowledged is ${Math.round(ms / 1000)} s old`,
      });
    // the probe and the insert mostly meet the same
    return found.filter(({ code }, index) => found.findIndex((other) => other.code === code) === index);
  }

  #postgresReasons(): Reason[] {
    if (this.#state === 'starting')
      return [{ code: 'OUTBOX_FLOW_STARTING', detail: 'the slot has not been attached to yet' }];
    if (this.#state === 'not streaming') return this.#ended === undefined ? [] : [this.#ended];
    const silentMs = this.#now() - this.#heardAt;
    if (silentMs <= SILENT_AFTER_MS) return [];
    return [{ code: 'OUTBOX_PG_UNREACHABLE', detail: `no answer from Postgres for ${Math.round(silentMs / 1000)} s` }];
  }

  #clickhouseReasons(): Reason[] {
    const found: Reason[] = this.#probed === undefined ? [] : [this.#probed];
    if (this.#state !== 'streaming') return found;
    if (!this.#isDelivering) found.push({ code: 'OUTBOX_FLOW_STARTING', detail: 'ClickHouse has not answered yet' });
    for (const code of new Set(this.#failing.values())) found.push({ code, detail: ERRORS[code].happened });
    const insertingMs = Math.max(0, ...[...this.#inserting].map(({ since }) => this.#now() - since));
    if (insertingMs > STALLED_AFTER_MS)
      found.push({
        code: 'OUTBOX_FLOW_STALLED',
        detail: `an insert has had no answer for ${Math.round(insertingMs / 1000)} s`,
      });
    return found;
  }
}

/** An error as a reason. What has no code is a fault of this program, and its words are for the log alone. */
export function reasonOf(error: unknown): Reason {
  if (!(error instanceof OutboxError))
    return { code: 'OUTBOX_FLOW_FAILED', detail: 'an error without a code, which the log has' };
  return { code: error.code, detail: error.message };
}
