import type { ErrorCode } from '../../errors.ts';

/** How much WAL the slot has left. */
export interface SlotStatus {
  /** As in pg_replication_slots. */
  readonly walStatus: string;
  /** Bytes that may be written before the slot may be lost; undefined without max_slot_wal_keep_size. */
  readonly safeWalBytes: number | undefined;
  /** Minutes until then at the present rate; undefined when there is no end to be seen. */
  readonly runwayMinutes: number | undefined;
}

/** What `/readyz` answers. */
export interface Readiness {
  readonly ready: boolean;
  readonly stream: string;
  readonly clickhouse: string;
  readonly slot?: SlotStatus;
}

/** Where the streamer stands: written by who knows, read by who is asked. */
export class Status {
  #stream: 'starting' | 'streaming' | 'standing by' | 'failed' | ErrorCode = 'starting';
  #clickhouse: 'unknown' | 'writable' | ErrorCode = 'unknown';
  #slot: SlotStatus | undefined;

  streaming(): void {
    this.#stream = 'streaming';
  }

  /** Another streamer holds the slot; this one would take over. */
  standingBy(): void {
    this.#stream = 'standing by';
  }

  notStreaming(code: ErrorCode | undefined): void {
    this.#stream = code ?? 'failed';
  }

  clickhouseAnswered(): void {
    this.#clickhouse = 'writable';
  }

  clickhouseFailed(code: ErrorCode): void {
    this.#clickhouse = code;
  }

  slotSeen(slot: SlotStatus): void {
    this.#slot = slot;
  }

  /** Ready is who streams and can write, or who would take over. */
  get readiness(): Readiness {
    const isStreaming = this.#stream === 'streaming' && this.#clickhouse === 'writable';
    return {
      ready: isStreaming || this.#stream === 'standing by',
      stream: this.#stream,
      clickhouse: this.#clickhouse,
      ...(this.#slot === undefined ? {} : { slot: this.#slot }),
    };
  }
}
