import { SpanKind } from '@opentelemetry/api';
import { OutboxError } from '../errors.ts';
import { formatLsn } from '../lsn.ts';
import type { Lsn } from '../lsn.ts';
import type { Batch } from './batch/batch.ts';
import type { ChunkPool } from './batch/column.ts';
import { Intake } from './batch/intake.ts';
import { constantBytes } from './batch/native.ts';
import type { Config } from './config.ts';
import type { ClickHouse } from './delivery/clickhouse.ts';
import { Delivery } from './delivery/deliver.ts';
import { Ledger } from './delivery/ledger.ts';
import type { Pending } from './delivery/ledger.ts';
import { formatPosition, tokenOf } from './delivery/position.ts';
import { BatchTrace } from './delivery/trace.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Logger } from './log.ts';
import type { Status } from './operations/status.ts';
import { Database } from './postgres.ts';
import type { SlotWatch } from './source/runway.ts';
import { PgoutputDecoder } from './source/pgoutput.ts';
import { Replication } from './source/replication.ts';
import { checkServer, checkSlot, slotMissing, unsafeSettings } from './source/slot.ts';
import { untilFree } from './source/standby.ts';
import { PublicationWatch } from './source/watch.ts';

/** An answered insert waits this long for the next intent, which would settle it, before it is settled alone. */
const SETTLE_AFTER_MS = 1000;
/** How often it is proved that the epoch is still ours, which a standby takes for a sign of life. */
const PULSE_MS = 1000;
/** How often slot and publication are looked at. */
const LOOK_MS = 2000;
/** While idle, each permission to acknowledge is a write to the ledger, and so WAL of its own. */
const IDLE_ACK_BYTES = 1024 * 1024;
/** A slot that keeps more than that while idle is given an ack for less, but only so often: each may free WAL at last. */
const RETAINED_BYTES = 16 * 1024 * 1024;
/** Postgres notes this often where decoding may begin, and moves there with the next ack. */
const RELEASE_MS = 15_000;
/** An attachment that has held so long, with nothing to deliver, is a good one. */
const STEADY_MS = 30_000;
/** How long the server may take to answer CopyDone. */
const FINISH_TIMEOUT_MS = 5000;
/** A frozen ledger row must not hold the stream longer than the client waits. */
const STATEMENT_TIMEOUT_MS = 9000;

/** A batch that ClickHouse has, and the ledger does not know it yet. */
interface Answered {
  readonly batch: Batch;
  readonly trace: BatchTrace;
}

export interface SessionOptions {
  readonly config: Config;
  readonly clickhouse: ClickHouse;
  readonly pool: ChunkPool;
  readonly log: Logger;
  readonly status: Status;
  readonly slotWatch: SlotWatch;
  /** Asks for a graceful end: what is buffered is delivered, settled and acknowledged. */
  readonly stop: AbortSignal;
  /** The slot is held and the ledger is ours. */
  readonly onAttached: () => void;
}

/**
 * One attachment to the slot, under one epoch, from connecting to Postgres until the connection is lost or a graceful stop
 * is done. Nothing of it outlives it: whoever comes next reads the ledger (design of delivery: docs/architecture.md).
 *
 *   connect → attach to the slot → take the ledger → repeat the pending insert → [ fill · intend · insert · settle ]* → drain
 *
 * Reading runs in the socket's callbacks and fills the next batch while `#deliver` awaits the one before.
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #over = new AbortController();
  #db: Database | undefined;
  #replication: Replication | undefined;
  #ledger: Ledger | undefined;
  #intake: Intake | undefined;
  #decoder: PgoutputDecoder | undefined;
  #pulse: Heartbeat | undefined;
  #look: Heartbeat | undefined;
  #watch: PublicationWatch | undefined;
  #relations = 0;
  #draining = false;
  #hasSettled = false;
  #holdAcksUntil: Lsn = 0;
  #attachedAt = Infinity;
  #retainedBytes = 0;
  #releasedAt = -Infinity;
  #wake: (() => void) | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Returns after a graceful stop; throws what ended the session otherwise: an OutboxError, unless the fault is ours. */
  async run(): Promise<void> {
    const { stop } = this.#options;
    const drain = (): void => this.#drain();
    stop.addEventListener('abort', drain);
    try {
      await this.#attach();
      if (stop.aborted) this.#drain();
      await this.#deliver();
      // two looks vouch for all that was delivered
      for (let looks = 0; looks < 2; looks++) {
        await this.#look!.beat();
        this.#signal.throwIfAborted();
      }
      await this.#ledger!.allowAck(this.#applyLsn);
      await this.#replication!.finish(FINISH_TIMEOUT_MS);
    } catch (error) {
      this.#fail(error);
      throw this.#signal.reason;
    } finally {
      stop.removeEventListener('abort', drain);
      this.#over.abort();
      this.#pulse?.stop();
      this.#look?.stop();
      await this.#replication?.close();
      await this.#db?.close();
    }
  }

  /** Whether it was worth attaching; a session that fails before would fail again at once. */
  get hasProgressed(): boolean {
    return this.#hasSettled || performance.now() - this.#attachedAt > STEADY_MS;
  }

  get #signal(): AbortSignal {
    return this.#over.signal;
  }

  async #attach(): Promise<void> {
    const { config, log, pool, status, slotWatch, stop, onAttached } = this.#options;
    const fail = (error: OutboxError): void => this.#fail(error);
    const parameters = { synchronous_commit: 'on', statement_timeout: `${STATEMENT_TIMEOUT_MS}ms` };
    const db = (this.#db = await Database.connect(config.databaseUrl, { parameters }, fail));
    await checkServer(db);
    await untilFree({ db, slot: config.slot, log, status, signal: this.#signal, stop });
    const problems = await unsafeSettings(db);
    if (problems.length > 0)
      log.warn({ err: new OutboxError('OUTBOX_PG_UNSAFE', { problems }) }, 'Postgres is not safe');
    const watch = (this.#watch = await PublicationWatch.begin(db));

    const replication = (this.#replication = await Replication.connect({
      url: config.databaseUrl,
      slot: config.slot,
      // before the ledger is read there is no room for anything
      onMessage: (buffer, start, end) => this.#decoder?.decode(buffer, start, end) ?? false,
      onKeepalive: (walEnd, replyRequested) => this.#keepalive(walEnd, replyRequested),
      flushLsn: () => this.#flushLsn,
      applyLsn: () => this.#applyLsn,
      onFailure: fail,
    }));
    const { server } = replication;
    this.#signal.throwIfAborted();
    await replication.start();
    const held = await checkSlot(db, config.slot);
    if (held === undefined) throw slotMissing(config.slot);
    const { confirmedLsn, isSynced } = held;
    const holding = { ...server, confirmedLsn, isSynced, publication: watch.identity };
    const ledger = (this.#ledger = await Ledger.take(db, config.slot, holding));
    const { delivered, pending, readBackBelow } = ledger.state;
    // who set it aside may have ended before the stream had passed that write
    if (await ledger.isQuarantined(held.confirmedLsn)) this.#holdAcksUntil = ledger.takenAt;
    this.#intake = new Intake({
      pool,
      now: () => performance.now(),
      maxRows: config.batchMaxRows,
      maxBytes: config.batchMaxBytes,
      maxAgeMs: config.flushIntervalMs,
      extraRowBytes: constantBytes({ source: this.#source, origin: 'stream' }),
      delivered,
      pending,
      onProgress: () => this.#wake?.(),
      onRelation: () => {
        // the first description is the usual one; another means that the catalog changed, perhaps the publication
        if (this.#relations++ > 0) void this.#look?.beat();
      },
    });
    this.#decoder = new PgoutputDecoder(this.#intake);
    const look = async (): Promise<void> => {
      await watch.look();
      const slot = await checkSlot(db, config.slot);
      if (slot === undefined) return;
      slotWatch.look(slot, performance.now());
      this.#retainedBytes = slot.retainedBytes;
      if (this.#isAckOwed) this.#wake?.();
    };
    this.#pulse = new Heartbeat(
      PULSE_MS,
      async () => {
        ledger.appliedLsn = this.#applyLsn;
        await ledger.prove();
      },
      (error) => this.#fail(error),
    );
    this.#look = new Heartbeat(LOOK_MS, look, (error) => this.#fail(error));
    const { epoch, timeline } = ledger;
    if (ledger.isNewTimeline)
      log.warn({ err: new OutboxError('OUTBOX_TIMELINE_CHANGED'), timeline }, 'on a new timeline');
    log.info(
      {
        slot: config.slot,
        epoch,
        delivered: formatPosition(delivered),
        pending: pending && formatPosition(pending.to),
        readBackBelow: readBackBelow === 0 ? undefined : formatLsn(readBackBelow),
      },
      'attached',
    );
    this.#attachedAt = performance.now();
    onAttached();
    replication.resume('buffer full');
  }

  async #deliver(): Promise<void> {
    const { config, clickhouse, log, status, stop } = this.#options;
    const ledger = this.#ledger!;
    const intake = this.#intake!;
    const replication = this.#replication!;
    const delivery = new Delivery({
      clickhouse,
      ledger,
      log,
      status,
      table: config.clickhouseTable,
      source: this.#source,
      origin: 'stream',
      tokenOf,
      quarantineMaxRows: config.quarantineMaxRows,
      onTooLarge: () => intake.shrink(),
      onQuarantined: (walEnd) => {
        this.#holdAcksUntil = walEnd;
      },
      retryMaxMs: config.retryMaxMs,
      insertTimeoutMs: config.insertTimeoutMs,
      signal: this.#signal,
      stop,
    });
    await delivery.ready();

    let repeated = ledger.state.pending;
    let answered: Answered | undefined;
    try {
      for (;;) {
        const settleAt = answered === undefined ? undefined : performance.now() + SETTLE_AFTER_MS;
        const step = await this.#nextStep(settleAt);
        if (step === 'batch') {
          const batch = intake.cut();
          replication.resume('buffer full');
          const trace = new BatchTrace(batch, this.#source);
          const ackable = intake.ackableAfter(answered?.batch);
          const intend = async (): Promise<Pending> =>
            trace.step('intend', SpanKind.INTERNAL, async () =>
              delivery.intend(batch, { from: 0, to: batch.rows }, ackable),
            );
          const isRecorded = repeated !== undefined;
          const intent = repeated ?? (await (answered === undefined ? intend() : this.#settle(answered, intend)));
          repeated = undefined;
          await trace.step('clickhouse.insert', SpanKind.CLIENT, async () =>
            delivery.insert(batch, intent, isRecorded),
          );
          batch.release();
          answered = { batch, trace };
        } else if (answered !== undefined) {
          const ackable = intake.ackableAfter(answered.batch);
          await this.#settle(answered, async () => ledger.settle(ackable));
          answered = undefined;
        } else if (step === 'allow ack') {
          this.#releasedAt = performance.now();
          await ledger.allowAck(intake.ackable);
          replication.sendStatus(false);
        } else return;
      }
    } finally {
      answered?.trace.end();
    }
  }

  /** The write that settles the batch may be the next one's intent. */
  async #settle<T>({ batch, trace }: Answered, write: () => Promise<T>): Promise<T> {
    const written = await trace.step('settle', SpanKind.INTERNAL, write);
    trace.end();
    this.#intake!.settled(batch);
    this.#hasSettled = true;
    this.#replication!.sendStatus(false);
    return written;
  }

  /** Waits until a batch is due, or until there is a reason to settle (and, with nothing to settle, to end) or to acknowledge more. */
  async #nextStep(settleAt: number | undefined): Promise<'batch' | 'settle' | 'allow ack'> {
    const intake = this.#intake!;
    for (;;) {
      this.#signal.throwIfAborted();
      if (this.#draining) intake.hurry();
      const dueIn = intake.dueIn();
      if (dueIn === 0) return 'batch';
      const settleIn = settleAt === undefined ? undefined : Math.max(0, settleAt - performance.now());
      if (this.#draining || settleIn === 0) return 'settle';
      if (settleAt === undefined && this.#isAckOwed) return 'allow ack';
      await this.#rest(Math.min(dueIn ?? Infinity, settleIn ?? Infinity));
    }
  }

  /** Waits until something happens, for `ms` at most. */
  async #rest(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (ms !== Infinity) timer = setTimeout(resolve, ms);
    });
    this.#wake = undefined;
    clearTimeout(timer);
  }

  /**
   * Is there more to acknowledge than the ledger allows? A transaction with events at once, others' WAL by the megabyte, and
   * what is left of it while the slot keeps much more.
   */
  get #isAckOwed(): boolean {
    const { ackable, owed } = this.#intake!;
    const { acked } = this.#ledger!.state;
    if (owed > acked || ackable - acked > IDLE_ACK_BYTES) return true;
    const isHoarding = this.#retainedBytes > RETAINED_BYTES;
    return isHoarding && ackable > acked && performance.now() - this.#releasedAt > RELEASE_MS;
  }

  /**
   * What Postgres may forget. After a quarantine, nothing more until the stream itself has passed that write: a standby that
   * the stream must not overtake then has the row too, and a slot never leads what only Postgres keeps.
   */
  get #flushLsn(): Lsn {
    const { seen = 0 } = this.#intake ?? {};
    return seen < this.#holdAcksUntil ? 0 : Math.min(this.#applyLsn, this.#ledger?.state.acked ?? 0);
  }

  get #applyLsn(): Lsn {
    return Math.min(this.#intake?.ackable ?? 0, this.#watch?.publishedLsn ?? 0);
  }

  #keepalive(walEnd: Lsn, replyRequested: boolean): void {
    const intake = this.#intake;
    intake?.reached(walEnd);
    if (intake !== undefined && this.#isAckOwed) this.#wake?.();
    if (!replyRequested) return;
    if (intake !== undefined) {
      intake.hurry();
      this.#wake?.();
    }
    this.#replication?.sendStatus(true);
  }

  #drain(): void {
    this.#draining = true;
    // before that, the server's answer to START is still to be read
    if (this.#intake !== undefined) this.#replication?.pause('draining');
    this.#wake?.();
  }

  #fail(error: unknown): void {
    if (this.#signal.aborted) return;
    this.#over.abort(error);
    this.#replication?.abandon(error);
    this.#wake?.();
  }

  get #source(): string {
    return `${this.#replication!.server.systemId}/${this.#options.config.slot}`;
  }
}
