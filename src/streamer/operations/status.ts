import type { ErrorCode } from '../../errors.ts';

/** What `/readyz` answers. */
export interface Readiness {
  readonly ready: boolean;
  readonly stream: string;
  readonly clickhouse: string;
}

/** Where the streamer stands: written by who knows, read by who is asked. */
export class Status {
  #stream: 'starting' | 'streaming' | 'standing by' | 'failed' | ErrorCode = 'starting';
  #clickhouse: 'unknown' | 'writable' | ErrorCode = 'unknown';

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

  /** Ready is who streams and can write, or who would take over. */
  get readiness(): Readiness {
    const isStreaming = this.#stream === 'streaming' && this.#clickhouse === 'writable';
    return { ready: isStreaming || this.#stream === 'standing by', stream: this.#stream, clickhouse: this.#clickhouse };
  }
}
