import { OutboxError } from '../errors.ts';
import { formatLsn, readLsn, type Lsn } from '../lsn.ts';
import { formatPosition } from '../position.ts';
import { Acks } from './acks.ts';
import type { ChunkPool } from './batch/column.ts';
import { Intake } from './batch/intake.ts';
import { BatchLimits } from './batch/limits.ts';
import { constantBytes } from './batch/native.ts';
import type { ClickHouse } from './clickhouse/client.ts';
import type { Config } from './config.ts';
import { sampleGauges } from './gauges.ts';
import { Ledger } from './ledger/ledger.ts';
import { refuseOtherShares } from './ledger/shares.ts';
import { untilFree } from './ledger/standby.ts';
import { recordUnreadable } from './ledger/unreadable.ts';
import { DeliveryLoop, type StreamAttachment } from './loop.ts';
import type { Logger } from './observe/log.ts';
import { LogThrottle } from './observe/log-throttle.ts';
import type { Progress } from './observe/measures.ts';
import { PeriodicCheck } from './observe/periodic-check.ts';
import type { Readiness } from './observe/readiness.ts';
import { progressOf } from './progress.ts';
import { Database } from './source/database.ts';
import { PgoutputDecoder } from './source/pgoutput.ts';
import { explained, PublicationWatch } from './source/publication-watch.ts';
import { Replication } from './source/replication.ts';
import { checkMigrated, unsafeSettings } from './source/server.ts';
import { checkSlot, isWalsenderWorking, slotMissing, type Slot } from './source/slot.ts';
import { UnreadWal } from './source/unread-wal.ts';

/** How often the epoch is proved to be ours, which a standby takes for a sign of life. */
const PROVE_EVERY_MS = 1000;
/** How often slot and publication are checked. */
const CHECK_EVERY_MS = 2000;
/** An attachment that has held so long, with nothing to deliver, is a good one. */
const STEADY_MS = 30_000;
/** How long the server may take to answer CopyDone. */
const FINISH_TIMEOUT_MS = 5000;
/** A frozen ledger row must not hold the stream longer than the client waits. */
const STATEMENT_TIMEOUT_MS = 9000;

export interface SessionOptions {
  readonly config: Config;
  readonly clickhouse: ClickHouse;
  readonly pool: ChunkPool;
  readonly log: Logger;
  readonly readiness: Readiness;
  /** Is told of the slot at every check. */
  readonly onSlot: (slot: Slot) => void;
  /** Asks for a graceful end: the session delivers, settles and acknowledges the buffered events. */
  readonly stop: AbortSignal;
  /** The slot is held and the ledger is ours. */
  readonly onAttached: () => void;
}

/** What an attached session works with. */
interface Attached extends StreamAttachment {
  readonly decoder: PgoutputDecoder;
  readonly loop: DeliveryLoop;
  /** Where WAL ended at the last check of the slot. */
  readonly walEnd: () => Lsn;
  readonly proofs: PeriodicCheck;
  readonly checks: PeriodicCheck;
  readonly gauges: PeriodicCheck;
}

/**
 * One attachment to the slot, under one epoch, from connecting to Postgres until the connection is lost or a graceful stop
 * is done. Nothing of it outlives it: the next session reads the ledger (design of delivery: docs/architecture.md).
 *
 *   connect → attach to the slot → take the ledger → deliver (DeliveryLoop) → drain
 *
 * Reading runs in the socket's callbacks and fills the next batch while the loop awaits the one before.
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #over = new AbortController();
  #db: Database | undefined;
  #replication: Replication | undefined;
  #attached: Attached | undefined;
  #attachedAt = Infinity;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Returns after a graceful stop; throws what ended the session otherwise: an OutboxError, unless the fault is ours. */
  async run(): Promise<void> {
    const { stop, config } = this.#options;
    const drain = (): void => this.#drain();
    stop.addEventListener('abort', drain);
    try {
      const { ledger, acks, loop, checks } = await this.#attach();
      if (stop.aborted) this.#drain();
      await loop.run();
      // two checks of the publication vouch for all that was delivered
      for (let times = 0; times < 2; times++) {
        await checks.run();
        this.#signal.throwIfAborted();
      }
      await ledger.allowAck(acks.applyLsn);
      await this.#replication!.drain(FINISH_TIMEOUT_MS);
    } catch (error) {
      this.#fail(error);
      if (this.#attached) await recordUnreadable(this.#attached.ledger, this.#db!, config.slot, this.#signal.reason);
      throw await explained(this.#signal.reason, this.#db, config.slot);
    } finally {
      stop.removeEventListener('abort', drain);
      this.#over.abort();
      this.#attached?.proofs.stop();
      this.#attached?.checks.stop();
      this.#attached?.gauges.stop();
      this.#options.readiness.measures.detached();
      await this.#replication?.close();
      this.#attached?.intake.close();
      await this.#db?.close();
    }
  }

  /** Whether it was worth attaching; a session that fails before would fail again at once. */
  get hasProgressed(): boolean {
    return this.#attached?.loop.hasSettled === true || performance.now() - this.#attachedAt > STEADY_MS;
  }

  get #signal(): AbortSignal {
    return this.#over.signal;
  }

  async #attach(): Promise<Attached> {
    const { config, log, onAttached } = this.#options;
    const db = await this.#connect();
    const watch = await PublicationWatch.begin(db, config.slot);
    const replication = await this.#startReplication(db);
    const held = await checkSlot(db, config.slot);
    if (held === undefined) throw slotMissing(config.slot);
    const { confirmedLsn, isSynced } = held;
    const identity = { ...replication.server, confirmedLsn, isSynced, publication: watch.identity };
    const ledger = await Ledger.take(db, config.slot, identity);
    // the session that wrote to the quarantine may have ended before the stream had passed that write
    const isHeld = await ledger.isQuarantined(confirmedLsn);
    const attached = (this.#attached = this.#wire(db, replication, ledger, watch, held));
    if (isHeld) attached.acks.holdUntilStreamPasses(ledger.takenAt);
    const { epoch, timeline } = ledger;
    if (ledger.isNewTimeline)
      log.warn({ err: new OutboxError('OUTBOX_TIMELINE_CHANGED'), timeline }, 'on a new timeline');
    const { delivered, pending, readBackBelow } = ledger.state;
    log.info(
      {
        slot: config.slot,
        epoch,
        delivered: formatPosition(delivered),
        pending: pending && formatPosition(pending.to),
        readBackBelow: readBackBelow === 0 ? undefined : formatLsn(readBackBelow),
        ends: ledger.ends === Infinity ? undefined : formatLsn(ledger.ends),
      },
      'attached',
    );
    this.#attachedAt = performance.now();
    onAttached();
    replication.resume('buffer full');
    return attached;
  }

  /** Connects to Postgres and waits until the slot is free. */
  async #connect(): Promise<Database> {
    const { config, log, readiness, onSlot, stop } = this.#options;
    const parameters = { synchronous_commit: 'on', statement_timeout: `${STATEMENT_TIMEOUT_MS}ms` };
    const onLost = (error: OutboxError): void => this.#fail(error);
    const db = (this.#db = await Database.connect(config, { parameters }, onLost));
    await checkMigrated(db);
    await refuseOtherShares(db, config.slot);
    await untilFree({ db, slot: config.slot, log, readiness, onSlot, signal: this.#signal, stop });
    const problems = await unsafeSettings(db);
    if (problems.length > 0)
      log.warn({ err: new OutboxError('OUTBOX_PG_UNSAFE', { problems }) }, 'Postgres is not safe');
    return db;
  }

  /** Attaches to the slot. */
  async #startReplication(db: Database): Promise<Replication> {
    const { config, log } = this.#options;
    const { slot } = config;
    const warnings = new LogThrottle();
    const replication = (this.#replication = await Replication.connect({
      access: config,
      slot,
      // before the ledger is read there is no room for anything
      onMessage: (buffer, start, end) => this.#attached?.decoder.decode(buffer, start, end) ?? false,
      isUnwanted: (buffer, start, end) => this.#attached?.decoder.isUnwanted(buffer, start, end) ?? false,
      onKeepalive: (buffer, walEndOffset, replyRequested) => this.#keepalive(buffer, walEndOffset, replyRequested),
      flushLsn: () => this.#attached?.acks.flushLsn ?? 0,
      applyLsn: () => this.#attached?.acks.applyLsn ?? 0,
      measures: this.#options.readiness.measures,
      isWorking: async () => isWalsenderWorking(db, slot),
      onWarning: (sqlState, warning) => log[warnings.level(sqlState)]({ sqlState, warning }, 'Postgres warns'),
      onFailure: (error) => this.#fail(error),
    }));
    this.#signal.throwIfAborted();
    await replication.start();
    return replication;
  }

  #wire(db: Database, replication: Replication, ledger: Ledger, watch: PublicationWatch, held: Slot): Attached {
    const { config, clickhouse, pool, log, readiness, onSlot, stop } = this.#options;
    const { slot, clickhouseTable: table } = config;
    const { signal } = this.#over;
    const { source } = ledger;
    let relations = 0;
    const intake = new Intake({
      pool,
      now: () => performance.now(),
      limits: new BatchLimits({ rows: config.batchMaxRows, bytes: config.batchMaxBytes }),
      flushIntervalMs: config.flushIntervalMs,
      extraRowBytes: constantBytes({ source, origin: 'stream' }),
      delivered: ledger.state.delivered,
      ends: ledger.ends,
      pending: ledger.state.pending,
      onProgress: () => loop.wake(),
      onRelation: () => {
        // the first description is the usual one; another means that the catalog changed, perhaps the publication
        if (relations++ > 0) void checks.run();
      },
    });
    const acks = new Acks({ intake, ledger, watch });
    const attachment: StreamAttachment = {
      config,
      clickhouse,
      ledger,
      table,
      source,
      origin: 'stream',
      log,
      readiness,
      signal,
      stop,
      intake,
      replication,
      acks,
    };
    const loop = new DeliveryLoop(attachment);
    let walEnd: Lsn = 0;
    const unread = new UnreadWal();
    const observe = (seen: Slot): void => {
      walEnd = seen.confirmedLsn + seen.unconfirmedBytes;
      unread.sample(walEnd, Date.now() / 1000);
      onSlot(seen);
    };
    observe(held);
    const progress = (): Progress => progressOf(intake, ledger, loop, walEnd, unread);
    const prove = async (): Promise<void> => {
      const { oldestSeconds } = progress();
      const oldestMs = oldestSeconds === undefined ? undefined : oldestSeconds * 1000;
      ledger.published = { appliedLsn: acks.applyLsn, oldestMs };
      await ledger.prove();
    };
    const check = async (): Promise<void> => {
      await watch.check();
      const seen = await checkSlot(db, slot);
      if (seen === undefined) return;
      observe(seen);
      acks.slotRetains(seen.retainedBytes);
      if (acks.isOwed) loop.wake();
    };
    const fail = (error: unknown): void => this.#fail(error);
    const proofs = new PeriodicCheck(PROVE_EVERY_MS, prove, fail);
    const checks = new PeriodicCheck(CHECK_EVERY_MS, check, fail);
    readiness.measures.attached(progress);
    const gauges = sampleGauges({ ...attachment, db, observeTarget: async () => loop.observeTarget() });
    const decoder = new PgoutputDecoder(intake, watch.rootOid, db.schema);
    return { ...attachment, decoder, loop, walEnd: () => walEnd, proofs, checks, gauges };
  }

  #keepalive(buffer: Buffer, walEndOffset: number, replyRequested: boolean): void {
    if (this.#attached !== undefined) {
      const { intake, acks, loop, walEnd } = this.#attached;
      const reached = readLsn(buffer, walEndOffset);
      intake.advanceTo(reached);
      if (replyRequested) intake.timer.flushNow();
      const isDue = reached >= walEnd() && intake.timer.caughtUp();
      if (replyRequested || isDue || acks.isOwed) loop.wake();
    }
    if (replyRequested) this.#replication?.sendStatus(true);
  }

  #drain(): void {
    // before that, the server's answer to START is still to be read
    if (this.#attached === undefined) return;
    this.#replication?.pause('draining');
    this.#attached.loop.drain();
  }

  #fail(error: unknown): void {
    if (this.#signal.aborted) return;
    this.#over.abort(error);
    this.#replication?.cancelStart(error);
    this.#attached?.loop.wake();
  }
}
