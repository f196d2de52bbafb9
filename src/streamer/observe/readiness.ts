import { ERRORS, OutboxError, type ErrorCode } from '../../errors.ts';
import { DEFAULT_SCHEMA } from '../../schema-name.ts';
import { lagOf, type Lag } from './lag.ts';
import { Measures } from './measures.ts';
import { reasonOf, type Reason } from './reason.ts';
import { SILENT_AFTER_MS, STALLED_AFTER_MS } from './silence.ts';

/** What of the slot's state an error tells. */
const GONE: Partial<Record<ErrorCode, string>> = { OUTBOX_SLOT_MISSING: 'missing', OUTBOX_SLOT_INVALID: 'invalid' };

/** How long the slot will live. */
export interface SlotHealth {
  /** As in pg_replication_slots. */
  readonly walStatus: string;
  /** Bytes that may be written before the slot may be lost; undefined without max_slot_wal_keep_size. */
  readonly safeWalBytes: number | undefined;
  /** Minutes until then, see SlotWatch; undefined when no end is in sight. */
  readonly runwayMinutes: number | undefined;
  /** It is about to be lost (OUTBOX_SLOT_ENDANGERED). */
  readonly endangered: boolean;
}

/** How the last retention went, and what the last one found that did not fail. Times are ms since 1970. */
export interface RetentionStatus {
  readonly ranAt: number;
  /** How often a bucket was emptied since this process began. */
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

/** How the last run over the manifests went. Times are ms since 1970. */
export interface ManifestStatus {
  readonly ranAt: number;
  /** The head of the chain; 0 and undefined before the first one. */
  readonly number: number;
  readonly hour: string | undefined;
  readonly hash: string | undefined;
  /** Why the run failed, or why an hour has none. */
  readonly problem: ErrorCode | undefined;
}

/** What `/readyz` answers. */
export interface ReadinessReport {
  /** This process delivers, or would take over at once from the one that does. */
  readonly ready: boolean;
  readonly state: 'starting' | 'streaming' | 'standing by' | 'not streaming';
  /** Empty when ready. */
  readonly reasons: readonly Reason[];
  /** What an operator should know although it delivers; not there where that is nothing. */
  readonly warnings?: readonly Reason[];
  readonly lag?: Lag;
  readonly slot?: SlotHealth;
  readonly retention?: RetentionStatus;
  readonly manifests?: ManifestStatus;
}

export interface ReadinessOptions {
  /** 0 for no limit. */
  readonly maxLagMs?: number;
  /** How long an insert may go without an answer. */
  readonly stalledAfterMs?: number;
  /** Of the outbox. */
  readonly schema?: string;
  /** Monotonic, ms. */
  readonly now?: () => number;
}

/** Whether this process delivers, or why not, and what it has counted: for `/readyz` and for metrics. */
export class Readiness {
  readonly measures = new Measures();
  readonly #maxLagMs: number;
  readonly #stalledAfterMs: number;
  readonly #schema: string;
  readonly #now: () => number;
  #state: ReadinessReport['state'] = 'starting';
  /** Why it does not stream. */
  #ended: Reason | undefined;
  /** The last sign of life of Postgres. */
  #heardAt = 0;
  /** ClickHouse has answered an insert, or a check of the table before it, well or not. */
  #isDelivering = false;
  /** What the last request to ClickHouse met, which is repeated. */
  #failing: ErrorCode | undefined;
  /** When the insert began whose answer is awaited. */
  #insertingSince: number | undefined;
  #probed: Reason | undefined;
  #slot: SlotHealth | undefined;
  /** Since the last session ended. */
  #wasSlotSeen = false;
  #retention: RetentionStatus | undefined;
  #manifests: ManifestStatus | undefined;
  #warning: Reason | undefined;

  constructor({
    maxLagMs = 0,
    stalledAfterMs = STALLED_AFTER_MS,
    schema = DEFAULT_SCHEMA,
    now = () => performance.now(),
  }: ReadinessOptions = {}) {
    this.#maxLagMs = maxLagMs;
    this.#stalledAfterMs = stalledAfterMs;
    this.#schema = schema;
    this.#now = now;
  }

  streaming(): void {
    this.#state = 'streaming';
    this.#heardAt = this.#now();
  }

  /** Another streamer holds the slot; this one would take over. To be called as often as that is seen. */
  standingBy(): void {
    this.#state = 'standing by';
    this.#forgetDelivery();
    this.#heardAt = this.#now();
  }

  notStreaming(error: unknown): void {
    this.#state = 'not streaming';
    this.#forgetDelivery();
    this.#ended = reasonOf(error, this.#schema);
    // the slot is in no less danger while sessions fail that get as far as to check it
    if (!this.#wasSlotSeen || this.#ended.code in GONE) {
      this.#slot = undefined;
      this.measures.slot = undefined;
    }
    this.#wasSlotSeen = false;
    this.measures.sessionFailed(error instanceof OutboxError ? error.code : undefined);
  }

  clickhouseAnswered(): void {
    this.#isDelivering = true;
    this.#failing = undefined;
  }

  clickhouseFailed(code: ErrorCode): void {
    this.#isDelivering = true;
    this.#failing = code;
    this.measures.retried(code);
  }

  /** An insert waits for its answer until `insertEnded`. */
  insertBegan(): void {
    this.#insertingSince = this.#now();
  }

  insertEnded(): void {
    this.#insertingSince = undefined;
  }

  /** Whether ClickHouse would take an insert now, asked beside those that are under way. */
  clickhouseProbed(fault: Reason | undefined): void {
    this.#probed = fault;
  }

  slotSeen(slot: SlotHealth): void {
    this.#slot = slot;
    this.#wasSlotSeen = true;
    this.#heardAt = this.#now();
  }

  /** Told for as long as this process streams. */
  warned(warning: Reason): void {
    this.#warning = warning;
  }

  /** Counts only while this process streams: a run may outlive its session. */
  manifestsRan(manifests: ManifestStatus): void {
    if (this.#state === 'streaming') this.#manifests = manifests;
  }

  retentionRan(retention: RetentionStatus): void {
    if (this.#state === 'streaming') this.#retention = retention;
  }

  get state(): ReadinessReport['state'] {
    return this.#state;
  }

  /** Undefined before the first answer, and while this process does not stream. */
  get isClickHouseWritable(): boolean | undefined {
    if (this.#state !== 'streaming' || !this.#isDelivering) return undefined;
    return this.#clickhouseReasons().length === 0;
  }

  /** Whether an answer of ClickHouse is waited for, or events wait for it. */
  get isClickHouseAwaited(): boolean {
    const isWaiting = (this.measures.progress?.bufferedEvents ?? 0) > 0 || this.#insertingSince !== undefined;
    return isWaiting || this.#failing !== undefined || this.#probed !== undefined;
  }

  /** As in pg_replication_slots, as long as it can be used; undefined before the first check. */
  get slotState(): string | undefined {
    const code = this.#state === 'not streaming' ? this.#ended?.code : undefined;
    return (code && GONE[code]) ?? this.measures.slot?.walStatus;
  }

  /** While this process does not stream, what it has seen of the slot, in bytes alone. */
  get lag(): Lag | undefined {
    const { progress, slot } = this.measures;
    if (progress !== undefined) return lagOf(progress, Date.now());
    return slot === undefined ? undefined : { bytes: slot.unconfirmedBytes, seconds: undefined };
  }

  /** A process is ready when it streams and can write, or when it would take over. */
  get report(): ReadinessReport {
    const { lag } = this;
    const reasons = this.#reasons(lag);
    return {
      ready: reasons.length === 0,
      state: this.#state,
      reasons,
      ...(this.#warning === undefined ? {} : { warnings: [this.#warning] }),
      ...(lag === undefined ? {} : { lag }),
      ...(this.#slot === undefined ? {} : { slot: this.#slot }),
      ...(this.#retention === undefined ? {} : { retention: this.#retention }),
      ...(this.#manifests === undefined ? {} : { manifests: this.#manifests }),
    };
  }

  /** What this process knew, the one that streams from now on knows better. */
  #forgetDelivery(): void {
    this.#isDelivering = false;
    this.#failing = undefined;
    this.#insertingSince = undefined;
    this.#retention = undefined;
    this.#manifests = undefined;
    this.#warning = undefined;
  }

  #reasons(lag: Lag | undefined): Reason[] {
    const found = [...this.#postgresReasons(), ...this.#clickhouseReasons()];
    const seconds = lag?.seconds ?? 0;
    if (this.#maxLagMs > 0 && seconds * 1000 > this.#maxLagMs)
      found.push({
        code: 'OUTBOX_FLOW_LATE',
        detail: `what was committed ${Math.round(seconds)} s ago is not delivered`,
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
    if (this.#failing !== undefined) found.push({ code: this.#failing, detail: ERRORS[this.#failing].happened });
    const insertingMs = this.#insertingSince === undefined ? 0 : this.#now() - this.#insertingSince;
    if (insertingMs > this.#stalledAfterMs)
      found.push({
        code: 'OUTBOX_FLOW_STALLED',
        detail: `an insert has had no answer for ${Math.round(insertingMs / 1000)} s`,
      });
    return found;
  }
}
