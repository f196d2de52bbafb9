import { OutboxError } from '../../errors.ts';

/** A message: Byte1 type · Int32 length, which counts itself but not the type · the payload. */
export const TYPE_BYTES = 1;
export const LENGTH_BYTES = 4;
export const FRAME_HEADER_BYTES = TYPE_BYTES + LENGTH_BYTES;
/**
 * The longest message of each type that a server sends while it streams, 0 for all other types: so that a stream out of
 * step is noticed at the next message, not when a length that is none has been waited for.
 */
const LONGEST = new Uint32Array(256);
/** Postgres never sends a longer message: MaxAllocSize. */
LONGEST[0x64] = 0x3fff_ffff; // CopyData
for (const type of [0x45, 0x4e]) LONGEST[type] = 1024 * 1024; // ErrorResponse, NoticeResponse
// what libpq takes for a loss of synchronisation, too: CopyDone, CopyBothResponse, ReadyForQuery, CommandComplete, ParameterStatus
for (const type of [0x63, 0x57, 0x5a, 0x43, 0x53]) LONGEST[type] = 30_000;

/** As large as a claimed length may make the carry at once; beyond it, what has arrived decides. */
const RESERVE_BYTES = 64 * 1024 * 1024;
const CARRY_BYTES = 64 * 1024;
/** So much of a large message is enough to know whether anybody wants it. */
const HEAD_BYTES = 64;
/** A carry that grew for one large event is let go once it is larger than this. */
const CARRY_KEEP_BYTES = 1024 * 1024;

/**
 * Sees one message of the frontend/backend protocol: `buffer[start]` is its type, its payload is
 * `[start + FRAME_HEADER_BYTES, end)`. The bytes are valid during the call only. Returns false to refuse the message for
 * now: the reader stops before it and offers it again after `resume()`.
 */
export type FrameHandler = (type: number, buffer: Buffer, start: number, end: number) => boolean;

/** Asked once of a message that is longer than the carry, with its beginning: true when its end need not be seen. */
export type FrameFilter = (type: number, buffer: Buffer, start: number, end: number) => boolean;

/**
 * Cuts a byte stream into protocol messages without an object, a copy or a string for each: a message is copied only when
 * it straddles two chunks. Of a large one that nobody wants only the beginning is kept, and handed over: it is not put together.
 *
 * https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS
 */
export class FrameReader {
  readonly #handle: FrameHandler;
  readonly #isUnwanted: FrameFilter;
  /** The beginning of the carried message has been looked at. */
  #isJudged = false;
  /** What is still to come of a message of which the carry keeps the beginning only. */
  #unwanted = 0;
  #carry = Buffer.allocUnsafeSlow(CARRY_BYTES);
  #carried = 0;
  #rest: Buffer | undefined;
  #refused = false;

  constructor(handle: FrameHandler, isUnwanted: FrameFilter = () => false) {
    this.#handle = handle;
    this.#isUnwanted = isUnwanted;
  }

  /** True while a message waits to be offered again: `push` must not be called until `resume()` has returned true. */
  get isStopped(): boolean {
    return this.#refused;
  }

  /** Takes the next chunk, which is not used after the call. */
  push(chunk: Buffer): void {
    if (this.#refused) {
      // a paused socket may still hand over what it had already read
      this.#rest = Buffer.concat(this.#rest === undefined ? [chunk] : [this.#rest, chunk]);
      return;
    }
    let offset = 0;
    if (this.#carried > 0) {
      offset = this.#fillCarry(chunk);
      if (offset < 0) return;
      if (!this.#offerCarry()) {
        this.#rest = offset < chunk.length ? Buffer.from(chunk.subarray(offset)) : undefined;
        return;
      }
    }
    while (chunk.length - offset >= FRAME_HEADER_BYTES) {
      const end = offset + frameLength(chunk, offset);
      if (end > chunk.length) break;
      if (!this.#handle(chunk[offset]!, chunk, offset, end)) {
        this.#refused = true;
        this.#rest = Buffer.from(chunk.subarray(offset));
        return;
      }
      offset = end;
    }
    if (offset < chunk.length) this.#startCarry(chunk, offset);
  }

  /** Offers the refused message again, then what came behind it. Returns true when all of it was taken. */
  resume(): boolean {
    if (!this.#refused) return true;
    this.#refused = false;
    const rest = this.#rest;
    this.#rest = undefined;
    // while a message waits, what is carried is that message, whole
    if (this.#carried > 0 && !this.#offerCarry()) {
      this.#rest = rest;
      return false;
    }
    if (rest !== undefined) this.push(rest);
    return !this.#refused;
  }

  /** Offers the completed message in the carry, which is empty after, or stays as it is when the message is refused. */
  #offerCarry(): boolean {
    const length = this.#carried;
    this.#carried = 0;
    if (!this.#handle(this.#carry[0]!, this.#carry, 0, length)) {
      this.#carried = length;
      this.#refused = true;
      return false;
    }
    this.#isJudged = false;
    if (this.#carry.length > CARRY_KEEP_BYTES) this.#replaceCarry(CARRY_BYTES);
    return true;
  }

  #startCarry(chunk: Buffer, offset: number): void {
    const part = chunk.length - offset;
    const isLarge = part >= FRAME_HEADER_BYTES && frameLength(chunk, offset) > CARRY_BYTES;
    this.#carried = chunk.copy(this.#carry, 0, offset, isLarge ? offset + FRAME_HEADER_BYTES : chunk.length);
    if (isLarge) this.#fillCarry(chunk.subarray(offset + FRAME_HEADER_BYTES));
  }

  /** Completes the carried message from the chunk. Returns where the chunk goes on, or −1 when more is needed. */
  #fillCarry(chunk: Buffer): number {
    let offset = 0;
    if (this.#carried < FRAME_HEADER_BYTES) {
      offset = Math.min(FRAME_HEADER_BYTES - this.#carried, chunk.length);
      chunk.copy(this.#carry, this.#carried, 0, offset);
      this.#carried += offset;
      if (this.#carried < FRAME_HEADER_BYTES) return -1;
    }
    const length = frameLength(this.#carry, 0);
    if (length > CARRY_BYTES && !this.#isJudged) {
      const head = chunk.copy(this.#carry, this.#carried, offset, offset + HEAD_BYTES - this.#carried);
      offset += head;
      this.#carried += head;
      if (this.#carried < HEAD_BYTES) return -1;
      this.#isJudged = true;
      if (this.#isUnwanted(this.#carry[0]!, this.#carry, 0, HEAD_BYTES)) this.#unwanted = length - HEAD_BYTES;
    }
    if (this.#unwanted > 0) {
      const passed = Math.min(this.#unwanted, chunk.length - offset);
      this.#unwanted -= passed;
      return this.#unwanted > 0 ? -1 : offset + passed;
    }
    const take = Math.min(length - this.#carried, chunk.length - offset);
    this.#reserve(length, this.#carried + take);
    chunk.copy(this.#carry, this.#carried, offset, offset + take);
    this.#carried += take;
    return this.#carried < length ? -1 : offset + take;
  }

  /** Makes room for `arrived` bytes of a message of `length`. */
  #reserve(length: number, arrived: number): void {
    const wanted = Math.min(length, Math.max(RESERVE_BYTES, arrived));
    if (wanted <= this.#carry.length) return;
    this.#replaceCarry(Math.min(length, Math.max(wanted, this.#carry.length * 2)));
  }

  /** Gives the memory back at once: for the garbage collector the carries of a few large events are no reason to run. */
  #replaceCarry(bytes: number): void {
    const former = this.#carry;
    this.#carry = Buffer.allocUnsafeSlow(bytes);
    former.copy(this.#carry, 0, 0, this.#carried);
    former.buffer.transfer(0);
  }
}

function frameLength(buffer: Buffer, offset: number): number {
  const length = buffer.readUInt32BE(offset + TYPE_BYTES);
  const type = buffer[offset]!;
  if (length < LENGTH_BYTES || length > LONGEST[type]!) {
    throw new OutboxError('OUTBOX_PROTOCOL', {
      detail: `a message of type 0x${type.toString(16).padStart(2, '0')} claims a length of ${length} bytes`,
    });
  }
  return TYPE_BYTES + length;
}
