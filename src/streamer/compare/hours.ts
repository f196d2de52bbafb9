import type { Keyed } from './merge.ts';

const CHUNK_ROWS = 500;

/** The rows of an hour: `id` is the bucket, `digest` their number and the sum of their digests. */
export interface Bucket extends Keyed {
  readonly events: string;
}

/**
 * Several streams of hours, each in order, as one: an hour that is in more than one of them is added up. Holds a chunk of each. To
 * stop iterating ends all of them.
 *
 * @param onBegun is called when a stream has told its first hours; they begin in their order, one after the other
 */
export async function* addedUp(
  streams: readonly AsyncIterable<readonly Bucket[]>[],
  onBegun: (index: number) => void,
): AsyncGenerator<Bucket[], void, undefined> {
  const hours = streams.map(each);
  const heads: IteratorResult<Bucket, void>[] = [];
  let chunk: Bucket[] = [];
  try {
    for (const [index, stream] of hours.entries()) {
      heads.push(await stream.next());
      onBegun(index);
    }
    for (;;) {
      const left = heads.flatMap(({ value }) => (value === undefined ? [] : [value]));
      if (left.length === 0) break;
      const id = left.reduce((least, hour) => (hour.id < least ? hour.id : least), left[0]!.id);
      chunk.push(sumOf(left.filter((hour) => hour.id === id)));
      for (const [index, { value }] of heads.entries()) if (value?.id === id) heads[index] = await hours[index]!.next();
      if (chunk.length < CHUNK_ROWS) continue;
      yield chunk;
      chunk = [];
    }
    yield chunk;
  } finally {
    for (const stream of hours) await stream.return();
  }
}

async function* each(chunks: AsyncIterable<readonly Bucket[]>): AsyncGenerator<Bucket, void, undefined> {
  for await (const chunk of chunks) yield* chunk;
}

function sumOf(hours: readonly Bucket[]): Bucket {
  const parts = hours.map(({ digest }) => digest.split(':').map(BigInt));
  const [events, sum] = [0, 1].map((at) => parts.reduce((total, part) => total + part[at]!, 0n));
  return { id: hours[0]!.id, events: String(events), digest: `${events}:${sum}` };
}
