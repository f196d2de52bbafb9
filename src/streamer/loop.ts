import type { Acks } from './acks.ts';
import type { Batch } from './batch/batch.ts';
import type { Intake } from './batch/intake.ts';
import type { Config } from './config.ts';
import type { Attachment } from './delivery/attachment.ts';
import { Delivery } from './delivery/deliver.ts';
import { detectLedgerAhead } from './delivery/ledger-ahead.ts';
import { detectLedgerBehind } from './delivery/ledger-behind.ts';
import { BatchTrace } from './delivery/trace.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Pending } from './ledger/row.ts';
import type { Replication } from './source/replication.ts';

/** An answered insert waits this long for the next intent, which would settle it, before it is settled alone. */
const SETTLE_AFTER_MS = 1000;

/** What a session puts together for its loop. */
export interface StreamAttachment extends Attachment {
  readonly config: Config;
  readonly ledger: Ledger;
  readonly intake: Intake;
  readonly replication: Replication;
  readonly acks: Acks;
}

/** A batch that was cut, on its way until the ledger knows that ClickHouse has it. */
interface Cut {
  readonly batch: Batch;
  readonly trace: BatchTrace;
}

/**
 * Cut, record, deliver, settle: one batch after the other, while the stream fills the next one. The loop sleeps until somebody
 * wakes it, or something is due.
 */
export class DeliveryLoop {
  readonly #attachment: StreamAttachment;
  readonly #delivery: Delivery;
  #draining = false;
  #hasSettled = false;
  #inFlight: Batch | undefined;
  #wake: (() => void) | undefined;

  constructor(attachment: StreamAttachment) {
    const { intake, acks } = attachment;
    this.#attachment = attachment;
    this.#delivery = new Delivery(attachment, {
      buffered: () => intake.buffered,
      onTooLarge: () => intake.shrink(),
      onQuarantined: (walEnd) => acks.holdUntilStreamPasses(walEnd),
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

  /** Looks at the target beside the inserts. Throws what is wrong with it. */
  async observeTarget(): Promise<void> {
    await this.#delivery.observeTarget();
  }

  /** Returns when it is drained; throws what ends the session. */
  async run(): Promise<void> {
    const { ledger, acks, intake, replication } = this.#attachment;
    await this.#delivery.untilReady(async () => {
      await detectLedgerBehind(this.#attachment, ledger);
      await detectLedgerAhead(this.#attachment, ledger);
    });

    let recorded = ledger.state.pending;
    let answered: Cut | undefined;
    try {
      for (;;) {
        const settleAt = answered === undefined ? undefined : performance.now() + SETTLE_AFTER_MS;
        const step = await this.#nextStep(settleAt);
        if (step === 'batch') {
          const next = this.#cut();
          const pending = recorded ?? (await this.#record(next, answered));
          answered = undefined;
          await this.#deliver(next, pending, recorded !== undefined);
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
      answered?.trace.close();
    }
  }

  #cut(): Cut {
    const { intake, replication, clickhouse, config, source, table } = this.#attachment;
    const batch = (this.#inFlight = intake.cut());
    replication.resume('buffer full');
    const { traceDeliverSpans: deliverSpans } = config;
    const server = (): URL => clickhouse.server;
    return { batch, trace: new BatchTrace(batch, { source, server, table, deliverSpans }) };
  }

  /** Records the intent, which settles what was answered. */
  async #record({ batch, trace }: Cut, answered: Cut | undefined): Promise<Pending> {
    const ackable = this.#attachment.intake.ackableAfter(answered?.batch);
    const record = async (): Promise<Pending> => trace.recording(async () => this.#delivery.record(batch, ackable));
    return answered === undefined ? record() : this.#settle(answered, record);
  }

  async #deliver({ batch, trace }: Cut, pending: Pending, isRecorded: boolean): Promise<void> {
    await trace.inserting(async () => this.#delivery.deliver(batch, pending, isRecorded));
    this.#inFlight = undefined;
    batch.close();
  }

  /** The write that settles the batch may be the next one's intent. */
  async #settle<T>({ batch, trace }: Cut, write: () => Promise<T>): Promise<T> {
    const written = await trace.settling(write);
    this.#attachment.intake.settled(batch);
    this.#hasSettled = true;
    this.#attachment.replication.sendStatus(false);
    return written;
  }

  /** Waits until a batch is due, or until there is a reason to settle (and, with nothing to settle, to end) or to acknowledge more. */
  async #nextStep(settleAt: number | undefined): Promise<'batch' | 'settle' | 'allow ack'> {
    const { intake, acks, signal } = this.#attachment;
    for (;;) {
      signal.throwIfAborted();
      if (this.#draining) intake.timer.flushNow();
      const dueIn = intake.timer.dueIn();
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
