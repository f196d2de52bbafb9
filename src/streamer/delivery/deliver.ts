import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { Batch } from '../batch/batch.ts';
import { eventOf, positionOf } from '../batch/event.ts';
import { encode, INSERT_COLUMNS } from '../batch/native.ts';
import { countRows } from '../batch/rows.ts';
import type { Rows } from '../batch/rows.ts';
import type { ClickHouse } from './clickhouse.ts';
import type { Ledger, Pending } from './ledger.ts';
import { formatPosition } from './position.ts';
import type { Intent } from './position.ts';
import { ReadBack } from './readback.ts';
import { faultOf } from './refusal.ts';
import { untilDone } from './retry.ts';
import type { RetryOptions } from './retry.ts';
import { checkTarget } from './target.ts';
import { TokenProof } from './tokens.ts';
import type { Target } from './views.ts';

/** An attempt is sent only this shortly after the ledger has proved to be ours: who was away too long may have been replaced. */
export const PROOF_MAX_AGE_MS = 10_000;
/** An insert may go on in the server for a while after its time is up. */
export const INSERT_MARGIN_MS = 5000;
/**
 * How long a token is trusted to be remembered. After it, others may have filled ClickHouse's window, and what may be there
 * already is looked for instead of sent blindly.
 */
const TOKEN_TRUST_MS = 5 * 60_000;
/** Codes of answers that say nothing of the insert: NETWORK_ERROR, SOCKET_TIMEOUT, UNKNOWN_STATUS_OF_INSERT, QUERY_WAS_CANCELLED, Keeper's. */
const UNKNOWN_OUTCOME: ReadonlySet<number> = new Set([209, 210, 319, 394, 425, 999, 1000]);
/** Memory and time may be short for a moment; after so many refusals in a row the insert is taken to be too large. */
const TOO_LARGE_AFTER = 3;

/** What delivery asks of a ledger. */
export type DeliveryLedger = Pick<
  Ledger,
  | 'epoch'
  | 'timeline'
  | 'state'
  | 'provenAt'
  | 'prove'
  | 'intend'
  | 'recut'
  | 'quarantine'
  | 'quarantined'
  | 'readBackUpTo'
  | 'distrust'
>;

export interface DeliveryOptions extends RetryOptions {
  readonly clickhouse: ClickHouse;
  readonly ledger: DeliveryLedger;
  readonly table: string;
  /** System identifier and slot. */
  readonly source: string;
  /** Goes into the column of that name. */
  readonly origin: string;
  /** Makes the token of an insert of some rows of a batch. */
  readonly tokenOf: (intent: Intent, rows: Rows) => string;
  /** The longest life of one attempt. */
  readonly insertTimeoutMs: number;
  /** Most events of this slot in quarantine; more of them are the table's fault, and wait. */
  readonly quarantineMaxRows: number;
  /** A batch was too large for ClickHouse's limits: the next ones should be smaller. */
  readonly onTooLarge: () => void;
  /** An event was set aside by a write that ended at this LSN. */
  readonly onQuarantined: (walEnd: Lsn) => void;
}

/** What ClickHouse would not take, for good, and why. */
interface Refusal {
  readonly error: OutboxError;
  readonly fault: 'row' | 'size';
  /** Other rows of the range were there before. */
  readonly isPartlyThere: boolean;
}

/**
 * From a batch to rows in ClickHouse: intent, insert, and the same insert again until it is answered (invariants 3 and 4).
 * What is refused for good is split until the event at fault stands alone, and that goes to quarantine (invariant 7).
 * Errors of ClickHouse end here; errors of the ledger end the session.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #readBack: ReadBack;
  readonly #takenAt = performance.now();
  #target: Target = { views: 0, doubtful: [], tables: [], remembersMs: Infinity };
  #warnedOf: readonly string[] = [];
  /** The window was off at some time since the session began. */
  #tokensDoubtful = false;
  /** The time of the last intent. */
  #lastAtMs: number;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#lastAtMs = options.ledger.state.pending?.atMs ?? 0;
    this.#readBack = new ReadBack({ ...options, kind: options.origin === 'repair' ? 'repair' : 'stream' });
  }

  /** Waits until the target can hold events exactly once. Throws what was wrong with it when a stop is asked for. */
  async ready(): Promise<void> {
    await this.#untilDone('target check', async () => {
      await this.#checkTarget();
      await this.#checkReach();
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
    const { ledger, source, onTooLarge, onQuarantined, log } = this.#options;
    const began = performance.now();
    const later: Rows[] = [];
    let rows: Rows = { from: 0, to: batch.rows };
    let pending = intent;
    let quarantined = 0;
    for (let first = true; ; first = false) {
      const refusal = await this.#send({ batch, rows, pending, isRecorded: isRecorded && first, isPart: !first });
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
        quarantined++;
      }
      const next = later.pop();
      if (next === undefined) break;
      rows = next;
      pending = await this.intend(batch, rows, 0);
    }
    const to = formatPosition({ lsn: batch.lastLsn, seq: batch.lastSeq });
    const ms = Math.round(performance.now() - began);
    if (batch.clamped > 0) log.warn({ rows: batch.clamped, to }, 'dates beyond DateTime64(6) were clamped');
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

  /** Repeats one insert until ClickHouse has its rows, or has refused them for good. */
  async #send(range: {
    batch: Batch;
    rows: Rows;
    pending: Pending;
    isRecorded: boolean;
    isPart: boolean;
  }): Promise<Refusal | undefined> {
    const { clickhouse, ledger, source, table, origin, insertTimeoutMs, signal } = this.#options;
    const { batch, rows, pending, isRecorded, isPart } = range;
    const { token, atMs } = pending;
    const livesMs = insertTimeoutMs + INSERT_MARGIN_MS;
    /** From then on no attempt without an answer can be under way: neither ours, nor one that a former holder sent before it noticed. */
    let quietAt = isRecorded ? this.#takenAt + PROOF_MAX_AGE_MS + livesMs : 0;
    let mayBeThere = isRecorded;
    let isUnread = positionOf(batch, rows.from).lsn < ledger.state.readBackBelow;
    let trustedFrom = atMs;
    let absent: readonly Rows[] | undefined;
    /** Since a view has failed: only the same token, while it is remembered, completes it. */
    let proof: TokenProof | undefined;
    let tooLarge = 0;
    let refusal: Refusal | undefined;

    await this.#untilDone('insert', async () => {
      if (mayBeThere) await this.#checkTarget();
      // another host's clock may have been ahead
      const isOld =
        mayBeThere && Math.abs(Date.now() - trustedFrom) > TOKEN_TRUST_MS && (await proof?.holds(signal)) !== true;
      if (isUnread || isOld || (mayBeThere && this.#tokensDoubtful)) {
        // who sent before a failover, and has not noticed it, may still be sending
        const strangersUntil = isUnread ? this.#takenAt + PROOF_MAX_AGE_MS + livesMs : 0;
        await this.#readBack.quiet(Math.max(quietAt, strangersUntil));
        absent = await this.#readBack.absent(batch, rows);
        this.#sayReadBack(rows, absent);
        isUnread = false;
        this.#tokensDoubtful = false;
        trustedFrom = Date.now();
        if (absent.length === 0) return;
      }
      await this.#prove();
      mayBeThere = true;
      const sentAt = performance.now();
      try {
        await clickhouse.insert(
          {
            query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
            parameters: { table },
            rows: countRows(absent ?? [rows]),
            token,
            queryId: `${source}/${ledger.epoch}/${token}`,
            body: encode(batch, { source, deliveredAtMs: atMs, origin }, absent ?? (isPart ? [rows] : undefined)),
          },
          signal,
        );
      } catch (error) {
        const { code, clickhouseCode } = error instanceof OutboxError ? error : {};
        if (code === 'OUTBOX_CH_VIEW_FAILED') proof ??= await TokenProof.begin(clickhouse, this.#target, atMs, signal);
        if (clickhouseCode === undefined || UNKNOWN_OUTCOME.has(clickhouseCode)) quietAt = performance.now() + livesMs;
        const fault = error instanceof OutboxError ? faultOf(error) : undefined;
        tooLarge = fault === 'size' ? tooLarge + 1 : 0;
        const isFinal =
          fault === 'row' || (fault === 'size' && rows.to - rows.from > 1 && (isPart || tooLarge >= TOO_LARGE_AFTER));
        if (!isFinal) throw error;
        // an older attempt may still succeed, and then the larger range must not be taken apart
        if (sentAt < quietAt) {
          await this.#readBack.quiet(quietAt);
          throw error;
        }
        await this.#readBack.quiet(0);
        const expected = absent === undefined ? 0 : rows.to - rows.from - countRows(absent);
        if ((await this.#readBack.count(batch, rows)) > expected) {
          proof ??= await TokenProof.begin(clickhouse, this.#target, atMs, signal);
          throw new OutboxError('OUTBOX_CH_VIEW_FAILED', {
            clickhouseCode,
            detail: `rows of a refused insert are in the table: ${(error as OutboxError).message}`,
          });
        }
        if (fault === 'row') await this.#checkQuarantine();
        refusal = { error: error as OutboxError, fault, isPartlyThere: expected > 0 };
        return;
      }
      if (absent !== undefined) await this.#checkWhole(batch, rows);
    });
    return refusal;
  }

  /** A restored disk or a lost ledger write shows as rows that the ledger does not know of. */
  async #checkReach(): Promise<void> {
    const { ledger, log } = this.#options;
    const { delivered, pending, readBackBelow } = ledger.state;
    const { rows, lastLsn } = await this.#readBack.unknown(delivered, pending);
    if (rows === 0 || lastLsn < readBackBelow) return;
    log.error(
      { err: new OutboxError('OUTBOX_LEDGER_BEHIND'), rows, lastLsn: formatPosition({ lsn: lastLsn, seq: 0 }) },
      'ClickHouse holds more than the ledger knows of',
    );
    await ledger.distrust(lastLsn);
  }

  /** Rows sent under a token that ClickHouse knows from others are dropped without a word. */
  async #checkWhole(batch: Batch, rows: Rows): Promise<void> {
    const there = await this.#readBack.count(batch, rows);
    const want = rows.to - rows.from;
    if (there >= want) return;
    throw new OutboxError('OUTBOX_CH_RANGE_PARTIAL', {
      detail: `${there} of the ${want} rows of the pending insert are in ClickHouse`,
    });
  }

  #sayReadBack(rows: Rows, absent: readonly Rows[]): void {
    const { log } = this.#options;
    const all = rows.to - rows.from;
    const there = all - countRows(absent);
    log[there > 0 ? 'warn' : 'debug']({ rows: all, there }, 'the pending insert was looked for');
    if (there > 0 && this.#target.views > 0)
      log.error(
        { err: new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN'), rows: there },
        'rows of the pending insert are in the table',
      );
  }

  async #checkQuarantine(): Promise<void> {
    const { ledger, quarantineMaxRows } = this.#options;
    const rows = await ledger.quarantined();
    if (rows >= quarantineMaxRows)
      throw new OutboxError('OUTBOX_QUARANTINE_FULL', { detail: `${rows} events are in quarantine` });
  }

  async #checkTarget(): Promise<void> {
    const { clickhouse, ledger, table, signal, log } = this.#options;
    try {
      this.#target = await checkTarget(clickhouse, table, signal);
    } catch (error) {
      // a window that was off has forgotten its tokens, also when it is on again, and whoever comes next must know
      if (error instanceof OutboxError && error.code === 'OUTBOX_CH_TABLE_UNSUITABLE') {
        this.#tokensDoubtful = true;
        const { pending } = ledger.state;
        if (pending !== undefined) await ledger.readBackUpTo(pending.to.lsn + 1);
      }
      throw error;
    }
    const problems = this.#target.doubtful;
    if (String(problems) === String(this.#warnedOf)) return;
    this.#warnedOf = problems;
    if (problems.length > 0)
      log.warn({ err: new OutboxError('OUTBOX_CH_VIEW_FORGETS', { problems }) }, 'views may count events twice');
  }

  /** Makes sure that the epoch is still ours, unless that was proved a moment ago. */
  async #prove(): Promise<void> {
    const { ledger } = this.#options;
    if (performance.now() - ledger.provenAt > PROOF_MAX_AGE_MS) await ledger.prove();
  }

  async #untilDone(what: string, attempt: () => Promise<void>): Promise<void> {
    await untilDone(this.#options, what, async () => {
      await this.#prove();
      await attempt();
    });
  }
}
