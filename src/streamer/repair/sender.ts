import { createHash } from 'node:crypto';
import { Batch, BEGUN_CHUNKS_BYTES, rowBytes, type TransactionStamp } from '../batch/batch.ts';
import { ChunkPool } from '../batch/column.ts';
import { constantBytes } from '../batch/native.ts';
import type { Rows } from '../batch/rows.ts';
import { fromMilliseconds } from '../batch/time.ts';
import { valuesOf } from '../batch/values.ts';
import type { OutboxEvent } from '../compare/outbox.ts';
import type { Config } from '../config.ts';
import type { Attachment } from '../delivery/attachment.ts';
import { Delivery } from '../delivery/deliver.ts';
import type { RepairLedger } from './repair-ledger.ts';

/** Smaller than the stream's: the rows of a comparison are in memory beside it. */
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const ID_BYTES = 16;
const DIGEST_BYTES = 16;
const KEY_BYTES = ID_BYTES + DIGEST_BYTES + 4;

export interface RepairAttachment extends Attachment {
  readonly config: Config;
  readonly ledger: RepairLedger;
}

/** Sends events that Postgres has and ClickHouse lacks, through the same delivery as the stream's. */
export class Sender {
  readonly #config: Config;
  readonly #delivery: Delivery;
  readonly #batchMaxBytes: number;
  readonly #pool: ChunkPool;
  readonly #stamp: TransactionStamp;
  readonly #extraRowBytes: number;
  #batch: Batch;
  /** What each row of the batch is, beyond its position: id, digest, and which copy. */
  readonly #keys: Buffer;
  #seq = 0;
  #quarantined = 0;

  constructor(attachment: RepairAttachment) {
    const { config, ledger, source, origin } = attachment;
    this.#config = config;
    this.#delivery = new Delivery(attachment, {
      // what a killed repair has still under way is recognised by what it holds: its positions were others
      tokenOf: (_, rows) => `${source}/repair/${this.#digest(rows)}`,
      onQuarantined: () => {
        this.#quarantined++;
      },
    });
    this.#batchMaxBytes = Math.min(config.batchMaxBytes, MAX_BATCH_BYTES);
    this.#pool = new ChunkPool(this.#batchMaxBytes + BEGUN_CHUNKS_BYTES);
    this.#batch = new Batch(this.#pool);
    this.#keys = Buffer.alloc(config.batchMaxRows * KEY_BYTES);
    this.#stamp = { commitLsn: ledger.state.delivered.lsn, committedAt: fromMilliseconds(Date.now()) };
    this.#extraRowBytes = constantBytes({ source, origin });
  }

  /** Events that ClickHouse has taken. */
  get sent(): number {
    return this.#seq - this.#batch.rows - this.#quarantined;
  }

  get quarantined(): number {
    return this.#quarantined;
  }

  /** @param copy tells it from other copies of the same event that are sent too */
  async add(event: OutboxEvent, copy: number): Promise<void> {
    const { buffer, tuple } = valuesOf(event);
    const bytes = rowBytes(tuple) + this.#extraRowBytes;
    if (
      this.#batch.rows >= this.#config.batchMaxRows ||
      (this.#batch.rows > 0 && this.#batch.bytes + bytes > this.#batchMaxBytes)
    )
      await this.flush();
    const key = this.#batch.rows * KEY_BYTES;
    this.#keys.set(event.event_id, key);
    this.#keys.write(event.digest, key + ID_BYTES, 'hex');
    this.#keys.writeUInt32LE(copy, key + ID_BYTES + DIGEST_BYTES);
    this.#batch.append(buffer, tuple, this.#stamp, ++this.#seq, bytes);
  }

  /** Returns when ClickHouse has all that was added. Throws OutboxErrors OUTBOX_PG_* and, when a stop is asked for, OUTBOX_CH_*. */
  async flush(): Promise<void> {
    const batch = this.#batch;
    if (batch.rows === 0) return;
    const pending = await this.#delivery.record(batch, 0);
    await this.#delivery.deliver(batch, pending, false);
    batch.close();
    this.#batch = new Batch(this.#pool);
  }

  #digest({ from, to }: Rows): string {
    return createHash('sha256')
      .update(this.#keys.subarray(from * KEY_BYTES, to * KEY_BYTES))
      .digest('hex');
  }
}
