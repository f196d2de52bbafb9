import type { Keyed } from './merge.ts';

const CHUNK_ROWS = 500;

/** The rows of an hour: `id` is the bucket, `digest` their number and the sum of their digests. */
export interface Bucket extends Keyed {
  readonly events: string;
}

/**
 * Several streams of hours, each in their order, as one: an hour that is in more than one of them is added up. Holds a chunk of each.
 * To stop iterating ends all of them.
 *
 * @param onBegun is called once a stream has told its first hours, in the order of the streams: one begins after the other
 */
export async function* addedUp(
  streams: readonly AsyncIterable<readonly Bucket[]>[],
  onBegun: (index: number) => void,
): AsyncGenerator<Bucket[], void, undefined> {
  const heads = streams.map((stream) => new Head(stream));
  try {
    for (const [index, head] of heads.entries()) {
      await head.fill();
      onBegun(index);
    }
    let chunk: Bucket[] = [];
    for (;;) {
      const left = heads.filter(({ row }) => row !== undefined);
      if (left.length === 0) break;
      const id = left.reduce((least, { row }) => (row!.id < least ? row!.id : least), left[0]!.row!.id);
      const same = left.filter(({ row }) => row!.id === id);
      chunk.push(sumOf(same.map(({ row }) => row!)));
      for (const head of same) if (!head.take()) await head.fill();
      if (chunk.length < CHUNK_ROWS) continue;
      yield chunk;
      chunk = [];
    }
    yield chunk;
  } finally {
    for (const head of heads) await head.close();
  }
}

/** The digest of an hour is its number of events and the sum of their digests. */
function sumOf(rows: readonly Bucket[]): Bucket {
  if (rows.length === 1) return rows[0]!;
  const parts = rows.map(({ digest }) => digest.split(':').map(BigInt));
  const total = (at: number): string => String(parts.reduce((sum, part) => sum + part[at]!, 0n));
  const events = total(0);
  return { id: rows[0]!.id, events, digest: `${events}:${total(1)}` };
}

/** The next row of a stream. */
class Head {
  readonly #chunks: AsyncIterator<readonly Bucket[]>;
  #chunk: readonly Bucket[] = [];
  #index = 0;

  constructor(chunks: AsyncIterable<readonly Bucket[]>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  get row(): Bucket | undefined {
    return this.#chunk[this.#index];
  }

  /** Passes the row by. Returns false when more rows are needed: `fill`. */
  take(): boolean {
    this.#index++;
    return this.row !== undefined;
  }

  /** Undefined is the row at the end. */
  async fill(): Promise<void> {
    let done: boolean | undefined = false;
    do {
      const next = await this.#chunks.next();
      ({ done } = next);
      this.#chunk = next.done === true ? [] : next.value;
      this.#index = 0;
    } while (done !== true && this.row === undefined);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
