import { MAX_TRACE_LINKS } from '../settings.ts';

/** https://www.w3.org/TR/trace-context/#traceparent-header */
export const TRACEPARENT_BYTES = 55;
const MAX_PRODUCERS = MAX_TRACE_LINKS;
/** A power of two, four times the producers: a look-up seldom probes twice. */
const TABLE_SIZE = 2048;
const SPAN_ID_OFFSET = 36;
const SPAN_ID_BYTES = 16;

/** A span that sent events of a batch. */
export interface Producer {
  readonly traceparent: string;
  /** The row of its first event, and how many it has. */
  readonly row: number;
  readonly events: number;
}

/**
 * The distinct sampled producers of a batch, remembered as the bytes of their traceparents: the first 512, and how many
 * events came from others. Nothing is allocated until the first sampled event, and nothing per event.
 */
export class Producers {
  #bytes: Buffer | undefined;
  /** Index + 1 of a producer, by the hash of its span id; 0 is free. */
  #table: Uint16Array | undefined;
  /** Of each producer, the row of its first event and the number of its events. */
  #rows: Uint32Array | undefined;
  #events: Uint32Array | undefined;
  #count = 0;
  /** Sampled events whose producer is not among those remembered. */
  unremembered = 0;

  /** Takes the traceparent of a row, at `start` and of full length, when its sampled flag is set. */
  add(buffer: Buffer, start: number, row: number): void {
    // the flags are two hex digits; the lowest bit of the last says "sampled"
    const digit = buffer[start + TRACEPARENT_BYTES - 1]!;
    if (((digit > 0x39 ? digit - 0x57 : digit) & 1) === 0) return;
    const table = (this.#table ??= new Uint16Array(TABLE_SIZE));
    const bytes = (this.#bytes ??= Buffer.allocUnsafe(MAX_PRODUCERS * TRACEPARENT_BYTES));
    const rows = (this.#rows ??= new Uint32Array(MAX_PRODUCERS));
    const events = (this.#events ??= new Uint32Array(MAX_PRODUCERS));
    const from = start + SPAN_ID_OFFSET;
    let slot = hash(buffer, from) & (TABLE_SIZE - 1);
    for (; table[slot] !== 0; slot = (slot + 1) & (TABLE_SIZE - 1)) {
      const known = table[slot]! - 1;
      if (!isSame(buffer, from, bytes, known * TRACEPARENT_BYTES + SPAN_ID_OFFSET)) continue;
      events[known]!++;
      return;
    }
    if (this.#count === MAX_PRODUCERS) {
      this.unremembered++;
      return;
    }
    buffer.copy(bytes, this.#count * TRACEPARENT_BYTES, start, start + TRACEPARENT_BYTES);
    rows[this.#count] = row;
    events[this.#count] = 1;
    table[slot] = ++this.#count;
  }

  /** Those remembered, in the order in which they first came. */
  list(): Producer[] {
    return Array.from({ length: this.#count }, (_, i) => ({
      traceparent: this.#bytes!.toString('latin1', i * TRACEPARENT_BYTES, (i + 1) * TRACEPARENT_BYTES),
      row: this.#rows![i]!,
      events: this.#events![i]!,
    }));
  }
}

function hash(buffer: Buffer, from: number): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < SPAN_ID_BYTES; i++) value = Math.imul(value ^ buffer[from + i]!, 0x01000193);
  return value ^ (value >>> 15);
}

function isSame(a: Buffer, aStart: number, b: Buffer, bStart: number): boolean {
  for (let i = 0; i < SPAN_ID_BYTES; i++) if (a[aStart + i] !== b[bStart + i]) return false;
  return true;
}
