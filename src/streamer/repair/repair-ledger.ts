import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import type { DeliveryLedger } from '../delivery/attachment.ts';
import type { LedgerState, Pending } from '../ledger/row.ts';
import type { Position } from '../../position.ts';
import { countQuarantined, putIntoQuarantine, type RejectedEvent } from '../ledger/quarantine.ts';
import type { Database } from '../source/database.ts';

export interface RepairLedgerOptions {
  readonly db: Database;
  readonly slot: string;
  readonly timeline: number;
  /** Behind which the repaired events stand. */
  readonly from: Position;
  /** Makes sure that no other repair can be under way. */
  readonly prove: () => Promise<void>;
  /** Makes an insert known to the next repair, before it is sent; undefined where the ledger is a streamer's. */
  readonly record: ((pending: Pending) => Promise<void>) | undefined;
}

/**
 * The ledger of a repair, in memory: a repair that is repeated compares with ClickHouse again, and its tokens come from the
 * events themselves, so that what was still under way is recognised. What is recorded tells only that views may lack an insert.
 */
export class RepairLedger implements DeliveryLedger {
  readonly #options: RepairLedgerOptions;
  readonly epoch = 'repair';
  readonly timeline: number;
  provenAt = performance.now();
  state: LedgerState;

  constructor(options: RepairLedgerOptions) {
    this.#options = options;
    this.timeline = options.timeline;
    this.state = { delivered: options.from, pending: undefined, acked: 0, readBackBelow: 0, target: undefined };
  }

  async prove(): Promise<void> {
    const asked = performance.now();
    await this.#options.prove();
    this.provenAt = asked;
  }

  async intend(next: Pending): Promise<void> {
    const { delivered, pending } = this.state;
    await this.#options.record?.(next);
    this.state = { ...this.state, delivered: pending?.to ?? delivered, pending: next };
  }

  async split(part: Pending, readBackBelow: Lsn): Promise<void> {
    await this.#options.record?.(part);
    this.state = { ...this.state, pending: part, readBackBelow: Math.max(this.state.readBackBelow, readBackBelow) };
  }

  async quarantine(event: RejectedEvent): Promise<Lsn> {
    const { db, slot } = this.#options;
    const rows = await putIntoQuarantine(db, 'SELECT $1::text AS slot_name, true AS written', event, [slot]);
    if (rows.length !== 1)
      throw new OutboxError('OUTBOX_PG_FAILED', { detail: 'an event could not be put into quarantine' });
    this.state = { ...this.state, delivered: event.event.position, pending: undefined };
    return 0;
  }

  /** The one who repairs is told by the log. */
  async tellRefusal(): Promise<void> {}

  async quarantined(): Promise<number> {
    const { db, slot } = this.#options;
    return countQuarantined(db, slot);
  }

  async deliverInto(target: string): Promise<void> {
    const { pending, readBackBelow } = this.state;
    const below = pending === undefined ? 0 : pending.to.lsn + 1;
    this.state = { ...this.state, target, readBackBelow: Math.max(readBackBelow, below) };
    return Promise.resolve();
  }

  async readBackDownTo(lsn: Lsn): Promise<void> {
    this.state = { ...this.state, readBackBelow: Math.min(this.state.readBackBelow, lsn) };
    return Promise.resolve();
  }

  async readBackUpTo(lsn: Lsn): Promise<void> {
    this.state = { ...this.state, readBackBelow: Math.max(this.state.readBackBelow, lsn) };
    return Promise.resolve();
  }
}
