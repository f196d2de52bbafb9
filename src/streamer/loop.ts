import type { Acks } from './acks.ts';
import type { Batch } from './batch/batch.ts';
import type { Intake } from './batch/intake.ts';
import type { Config } from './config.ts';
import type { ClickHouse } from './clickhouse/client.ts';
import { Delivery } from './delivery/deliver.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Pending } from './ledger/row.ts';
import { tokenOf } from '../position.ts';
import { checkReach } from './delivery/ledger-behind.ts';
import { BatchTrace } from './delivery/trace.ts';
import type { Logger } from './observe/log.ts';
import type { Status } from './observe/readiness.ts';
import type { Replication } from './source/replication.ts';

/** An answered insert waits this long for the next intent, which would settle it, before it is settled alone. */
const SETTLE_AFTER_MS = 1000;

export interface LoopOptions {
  readonly config: Config;
  readonly clickhouse: ClickHouse;
  readonly ledger: Ledger;
  readonly intake: Intake;
  readonly replication: Replication;
  readonly acks: Acks;
  /** System identifier and slot. */
  readonly source: string;
  readonly log: Logger;
  readonly status: Status;
  /** The session is over. */
  readonly signal: AbortSignal;
  readonly stop: AbortSignal;
}

/** A batch that was cut, on its way until the ledger knows that ClickHouse has it. */
interface Cut {
  readonly batch: Batch;
  /** By the monotonic clock, ms. */
  readonly cutAt: number;
  readonly trace: BatchTrace;
}

/**
 * Fill, intend, insert, settle: one batch after the other, while the stream fills the next one. It sleeps until somebody
 * wakes it, or something is due.
 */
export class DeliveryLoop {
  readonly #options: LoopOptions;
  readonly #delivery: Delivery;
  #draining = false;
  #hasSettled = false;
  #inFlight: Batch | undefined;
  #wake: (() => void) | undefined;

  constructor(options: LoopOptions) {
    const { config, intake, acks } = options;
    this.#options = options;
    this.#delivery = new Delivery({
      ...options,
      table: config.clickhouseTable,
      origin: 'stream',
      tokenOf,
      maxInserts: config.batchInserts,
      quarantineMaxRows: config.quarantineMaxRows,
      onTooLarge: () => intake.shrink(),
      onQuarantined: (walEnd) => acks.holdUntil(walEnd),
      retryMaxMs: config.retryMaxMs,
      insertTimeoutMs: config.insertTimeoutMs,
    });
  }

  /** Something that it waits for may have happened. */
  wake(): void {
    this.#wake?.();
  }

  /** Nothing more comes: it is to end when what was cut and buffered is settled. */
  drain(): void {
    this.#draining = true;
    this.wake();
  }

  /** The batch that was cut and that ClickHouse may not have yet. */
  get inFlight(): Batch | undefined {
    return this.#inFlight;
  }

  get hasSettled(): boolean {
    return this.#hasSettled;
  }

  /** Returns when it is drained; throws what ends the session. */
  async run(): Promise<void> {
    const { config, ledger, acks, intake, replication } = this.#options;
    await this.#delivery.ready(async () => checkReach({ ...this.#options, table: config.clickhouseTable }));

    let recorded = ledger.state.pending;
    let answered: Cut | undefined;
    try {
      for (;;) {
        const settleAt = answered === undefined ? undefined : performance.now() + SETTLE_AFTER_MS;
        const step = await this.#nextStep(settleAt);
        if (step === 'batch') {
          const next = this.#cut();
          const intent = recorded ?? (await this.#intend(next, answered));
          answered = undefined;
          await this.#insert(next, intent, recorded !== undefined);
          recorded = undefined;
          answered = next;
        } else if (answered !== undefined) {
          const ackable = intake.ackableAfter(answered.batch);
          await this.#settle(answered, async () => ledger.settle(ackable));
          answered = undefined;
        } else if (step === 'allow ack') {
          await acks.allow();
          replication.sendStatus(false);
        } else return;
      }
    } finally {
      answered?.trace.abandon();
    }
  }

  #cut(): Cut {
    const { intake, replication, config, source } = this.#options;
    const batch = (this.#inFlight = intake.cut());
    replication.resume('buffer full');
    const trace = new BatchTrace(batch, {
      source,
      clickhouseUrl: config.clickhouseUrl,
      table: config.clickhouseTable,
      deliverSpans: config.traceDeliverSpans,
    });
    return { batch, cutAt: performance.now(), trace };
  }

  /** Records the intent, which settles what was answered. */
  async #intend({ batch, trace }: Cut, answered: Cut | undefined): Promise<Pending> {
    const ackable = this.#options.intake.ackableAfter(answered?.batch);
    const intend = async (): Promise<Pending> => trace.intend(async () => this.#delivery.intend(batch, ackable));
    return answered === undefined ? intend() : this.#settle(answered, intend);
  }

  async #insert({ batch, cutAt, trace }: Cut, intent: Pending, isRecorded: boolean): Promise<void> {
    await trace.insert(async () => this.#delivery.insert(batch, intent, isRecorded));
    this.#options.intake.delivered(batch, performance.now() - cutAt);
    this.#inFlight = undefined;
    batch.release();
  }

  /** The write that settles the batch may be the next one's intent. */
  async #settle<T>({ batch, trace }: Cut, write: () => Promise<T>): Promise<T> {
    const written = await trace.settle(write);
    this.#options.intake.settled(batch);
    this.#hasSettled = true;
    this.#options.replication.sendStatus(false);
    return written;
  }

  /** Waits until a batch is due, or until there is a reason to settle (and, with nothing to settle, to end) or to acknowledge more. */
  async #nextStep(settleAt: number | undefined): Promise<'batch' | 'settle' | 'allow ack'> {
    const { intake, acks, signal } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      if (this.#draining) intake.hurry();
      const dueIn = intake.dueIn();
      if (dueIn === 0) return 'batch';
      const settleIn = settleAt === undefined ? undefined : Math.max(0, settleAt - performance.now());
      if (this.#draining || settleIn === 0) return 'settle';
      if (settleAt === undefined && acks.isOwed) return 'allow ack';
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
}
