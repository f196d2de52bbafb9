import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Batch } from '../batch/batch.ts';
import { eventOf, positionOf } from '../batch/event.ts';
import type { Rows } from '../batch/rows.ts';
import { Repeats } from '../repeats.ts';
import type { Pending } from './ledger-row.ts';
import { formatPosition } from './position.ts';
import type { Intent } from './position.ts';
import { ReadBack } from './readback.ts';
import { untilDone } from './retry.ts';
import { Send } from './send.ts';
import type { SendOptions, Surroundings } from './send.ts';
import { TargetWatch } from './target-watch.ts';

export interface DeliveryOptions extends SendOptions {
  /** Makes the token of an insert of some rows of a batch. */
  readonly tokenOf: (intent: Intent, rows: Rows) => string;
  /** A batch was too large for ClickHouse's limits: the next ones should be smaller. */
  readonly onTooLarge: () => void;
  /** An event was set aside by a write that ended at this LSN. */
  readonly onQuarantined: (walEnd: Lsn) => void;
}

/**
 * From a batch to rows in ClickHouse: intent, and an insert that is sent until it is answered (invariants 3 and 4).
 * What is refused for good is split until the event at fault stands alone, and that goes to quarantine (invariant 7).
 * Errors of ClickHouse end here; errors of the ledger end the session.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #surroundings: Surroundings;
  /** An application that sends such dates does it in every batch. */
  readonly #clamping = new Repeats();
  /** The time of the last intent. */
  #lastAtMs: number;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#lastAtMs = options.ledger.state.pending?.atMs ?? 0;
    this.#surroundings = {
      readBack: new ReadBack({ ...options, kind: options.origin === 'repair' ? 'repair' : 'stream' }),
      watch: new TargetWatch(options),
      takenAt: performance.now(),
    };
  }

  /**
   * Waits until the target can hold events exactly once, and `check` finds nothing wrong either. Throws what was wrong when a
   * stop is asked for.
   */
  async ready(check: () => Promise<void>): Promise<void> {
    await untilDone(this.#options, 'target check', async () => {
      await this.#surroundings.watch.look();
      await check();
    });
  }

  /** Records the intent of some rows, which settles what was pending and allows acknowledgements up to `ackable`. */
  async intend(batch: Batch, rows: Rows, ackable: Lsn): Promise<Pending> {
    const { ledger } = this.#options;
    const { delivered, pending } = ledger.state;
    const next = this.#pending(batch, rows, pending?.to ?? delivered);
    await ledger.intend(next, ackable);
    return next;
  }

  /**
   * Returns when ClickHouse has all rows of the intended batch, each once, but for those that are in quarantine; the last part
   * is then still pending. `isRecorded` says that the intent is an earlier session's, whose insert may be there or still
   * under way. Throws the last refusal when a stop is asked for.
   */
  async insert(batch: Batch, intent: Pending, isRecorded: boolean): Promise<void> {
    const { ledger, source, onTooLarge, onQuarantined, log, status } = this.#options;
    const began = performance.now();
    const later: Rows[] = [];
    let rows: Rows = { from: 0, to: batch.rows };
    let pending = intent;
    let quarantined = 0;
    for (let first = true; ; first = false) {
      const intended = { batch, rows, pending, isRecorded: isRecorded && first, isPart: !first };
      const refusal = await new Send({ ...this.#options, ...this.#surroundings }, intended).untilAnswered();
      if (refusal !== undefined && rows.to - rows.from > 1) {
        const middle = (rows.from + rows.to) >> 1;
        later.push({ from: middle, to: rows.to });
        rows = { from: rows.from, to: middle };
        if (first) {
          log.error({ err: refusal.error, rows: batch.rows }, 'an insert is refused for good, and is split');
          if (refusal.fault === 'size') onTooLarge();
        }
        pending = this.#pending(batch, rows, ledger.state.delivered);
        await ledger.recut(pending, refusal.isPartlyThere ? batch.lastLsn + 1 : 0);
        continue;
      }
      if (refusal !== undefined) {
        const { message: reason, clickhouseCode } = refusal.error;
        const walEnd = await ledger.quarantine({ event: eventOf(batch, rows.from), source, reason, clickhouseCode });
        onQuarantined(walEnd);
        status.measures.setAside();
        quarantined++;
      }
      const next = later.pop();
      if (next === undefined) break;
      rows = next;
      pending = await this.intend(batch, rows, 0);
    }
    status.measures.batchDone(batch);
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) {
      const level = this.#clamping.level('clamped') === 'debug' ? 'debug' : 'warn';
      log[level]({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
    }
    if (quarantined > 0)
      log.error({ err: new OutboxError('OUTBOX_QUARANTINED'), rows: quarantined, to }, 'events are in quarantine');
    log.debug({ rows: batch.rows, bytes: batch.bytes, to, ms }, 'batch inserted');
  }

  #pending(batch: Batch, rows: Rows, from: Pending['to']): Pending {
    const { ledger, source, tokenOf: makeToken } = this.#options;
    const to = positionOf(batch, rows.to - 1);
    // rows are told from another insert's by it
    const atMs = (this.#lastAtMs = Math.max(Date.now(), this.#lastAtMs + 1));
    return {
      to,
      rows: rows.to - rows.from,
      token: makeToken({ source, timeline: ledger.timeline, atMs, from, to }, rows),
      atMs,
    };
  }
}
