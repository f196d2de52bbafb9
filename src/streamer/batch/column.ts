import type { Rows } from './rows.ts';
import type { Int64 } from './time.ts';

/**
 * A multiple of every fixed width, so that a fixed-width value never straddles two chunks; and large enough that the
 * allocator maps each chunk by itself, so that what is let go returns to the system.
 */
export const CHUNK_BYTES = 256 * 1024;

export const MARK_ROWS = 4096;

/** Chunks that answered batches gave back, for the next batches to fill. */
export class ChunkPool {
  readonly #free: Buffer[] = [];
  readonly #keep: number;

  /** @param keepBytes how much is kept for reuse at most; the rest is left to the garbage collector. */
  constructor(keepBytes: number) {
    this.#keep = Math.ceil(keepBytes / CHUNK_BYTES);
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
  }

  give(chunks: Buffer[]): void {
    for (const chunk of chunks) if (this.#free.length < this.#keep) this.#free.push(chunk);
  }
}

/**
 * A growing column in ClickHouse's Native layout (little-endian, strings with a varint length before them), in chunks: it
 * grows without copying what is there, and its memory is reused by later batches. A column holds values of one kind only,
 * so a chunk is always filled to its end before the next one begins.
 */
export class Column {
  readonly #pool: ChunkPool;
  #chunks: Buffer[] = [];
  #chunk: Buffer = Buffer.alloc(0);
  /** Where every so many values of a column of strings begin. */
  #marks: number[] = [];
  /** Where the next byte goes. The first chunk is taken when there is one. */
  #at = CHUNK_BYTES;

  constructor(pool: ChunkPool) {
    this.#pool = pool;
  }

  get bytes(): number {
    return (this.#chunks.length - 1) * CHUNK_BYTES + this.#at;
  }

  /** The column's bytes in order. They are the column's own memory, valid until `close()`. */
  *parts(): Generator<Buffer, void, undefined> {
    yield* this.#between(0, this.bytes);
  }

  /** Remembers where the next value begins, which is the `n * MARK_ROWS`th, so that strings are found without a walk through all of them. */
  mark(): void {
    this.#marks.push(this.bytes);
  }

  /** The same for some rows: of values that are `width` bytes each, or of strings, which are walked through from a mark, when it is 0. */
  *partsOf(runs: readonly Rows[], width: number): Generator<Buffer, void, undefined> {
    let row = 0;
    let offset = 0;
    const seek = (to: number): number => {
      if (width > 0) return to * width;
      const marked = Math.min(Math.floor(to / MARK_ROWS), this.#marks.length - 1);
      if (marked * MARK_ROWS > row) {
        row = marked * MARK_ROWS;
        offset = this.#marks[marked]!;
      }
      for (; row < to; row++) offset = this.#afterString(offset);
      return offset;
    };
    for (const { from, to } of runs) yield* this.#between(seek(from), seek(to));
  }

  /** A copy of one row's value, without the length of a string. */
  value(row: number, width: number): Buffer {
    const bytes = Buffer.concat([...this.partsOf([{ from: row, to: row + 1 }], width)]);
    return width > 0 ? bytes : bytes.subarray(bytes.findIndex((byte) => byte < 0x80) + 1);
  }

  *#between(start: number, end: number): Generator<Buffer, void, undefined> {
    for (let at = start; at < end;) {
      const inChunk = at % CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - inChunk, end - at);
      yield this.#chunks[(at - inChunk) / CHUNK_BYTES]!.subarray(inChunk, inChunk + length);
      at += length;
    }
  }

  #afterString(offset: number): number {
    let at = offset;
    let length = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#chunks[Math.floor(at / CHUNK_BYTES)]![at % CHUNK_BYTES]!;
      at++;
      length += (byte & 0x7f) * factor;
      if (byte < 0x80) return at + length;
    }
  }

  /** Gives the memory back. The column must not be used after. */
  close(): void {
    this.#pool.give(this.#chunks);
    this.#chunks = [];
    this.#marks = [];
  }

  string(source: Buffer, start: number, end: number): void {
    let length = end - start;
    while (length > 0x7f) {
      this.#byte((length & 0x7f) | 0x80);
      length >>>= 7;
    }
    this.#byte(length);
    this.#raw(source, start, end);
  }

  /** The empty string. */
  empty(): void {
    this.#byte(0);
  }

  /** Postgres sends a uuid as 16 bytes in reading order; ClickHouse keeps two little-endian halves. */
  uuid(source: Buffer, start: number): void {
    if (this.#at === CHUNK_BYTES) this.#grow();
    const chunk = this.#chunk;
    const at = this.#at;
    for (let i = 0; i < 8; i++) {
      chunk[at + i] = source[start + 7 - i]!;
      chunk[at + 8 + i] = source[start + 15 - i]!;
    }
    this.#at = at + 16;
  }

  /** A 64-bit value in two halves, because a bigint would be an allocation. */
  int64({ high, low }: Readonly<Int64>): void {
    if (this.#at === CHUNK_BYTES) this.#grow();
    const chunk = this.#chunk;
    const at = this.#at;
    chunk[at] = low;
    chunk[at + 1] = low >>> 8;
    chunk[at + 2] = low >>> 16;
    chunk[at + 3] = low >>> 24;
    chunk[at + 4] = high;
    chunk[at + 5] = high >>> 8;
    chunk[at + 6] = high >>> 16;
    chunk[at + 7] = high >>> 24;
    this.#at = at + 8;
  }

  /** Eight bytes from Postgres, which sends the highest first. */
  reversed64(source: Buffer, start: number): void {
    if (this.#at === CHUNK_BYTES) this.#grow();
    const chunk = this.#chunk;
    const at = this.#at;
    for (let i = 0; i < 8; i++) chunk[at + i] = source[start + 7 - i]!;
    this.#at = at + 8;
  }

  int32(value: number): void {
    if (this.#at === CHUNK_BYTES) this.#grow();
    const chunk = this.#chunk;
    const at = this.#at;
    chunk[at] = value;
    chunk[at + 1] = value >>> 8;
    chunk[at + 2] = value >>> 16;
    chunk[at + 3] = value >>> 24;
    this.#at = at + 4;
  }

  #raw(source: Buffer, start: number, end: number): void {
    let from = start;
    while (CHUNK_BYTES - this.#at < end - from) {
      const part = CHUNK_BYTES - this.#at;
      source.copy(this.#chunk, this.#at, from, from + part);
      from += part;
      this.#at = CHUNK_BYTES;
      this.#grow();
    }
    // a call into the runtime costs more than a few bytes moved by hand
    if (end - from > 24) {
      source.copy(this.#chunk, this.#at, from, end);
      this.#at += end - from;
    } else {
      const chunk = this.#chunk;
      let at = this.#at;
      while (from < end) chunk[at++] = source[from++]!;
      this.#at = at;
    }
  }

  #byte(value: number): void {
    if (this.#at === CHUNK_BYTES) this.#grow();
    this.#chunk[this.#at++] = value;
  }

  #grow(): void {
    this.#chunk = this.#pool.take();
    this.#chunks.push(this.#chunk);
    this.#at = 0;
  }
}
