import { expect, test } from 'vitest';
import { addedUp, type Bucket } from './hours.ts';

const hour = (id: string, events: number, sum: number): Bucket => ({
  id,
  events: String(events),
  digest: `${events}:${sum}`,
});

async function* chunksOf(...chunks: Bucket[][]): AsyncGenerator<Bucket[], void, undefined> {
  yield* chunks;
}

async function all(streams: AsyncGenerator<Bucket[]>[]): Promise<{ rows: Bucket[]; begun: number[] }> {
  const begun: number[] = [];
  const rows: Bucket[] = [];
  for await (const chunk of addedUp(streams, (index) => void begun.push(index))) rows.push(...chunk);
  return { rows, begun };
}

test('hours of several streams come in their order, those of the same hour added up', async () => {
  const { rows, begun } = await all([
    chunksOf([hour('1', 1, 10), hour('3', 1, 5)], [hour('5', 2, 7)]),
    chunksOf(),
    chunksOf([], [hour('2', 4, 1), hour('3', 2, 6)], []),
    chunksOf([hour('3', 1, 2 ** 50)], []),
  ]);
  expect(rows).toEqual([hour('1', 1, 10), hour('2', 4, 1), hour('3', 4, 2 ** 50 + 11), hour('5', 2, 7)]);
  expect(begun).toEqual([0, 1, 2, 3]);
});

test('more hours than a chunk has come all, and each once', async () => {
  const hours = (from: number): Bucket[] =>
    Array.from({ length: 1200 }, (_, n) => hour(String(from + 2 * n).padStart(8, '0'), 1, n));
  const { rows } = await all([chunksOf(hours(0)), chunksOf(hours(1))]);
  expect(rows.map(({ id }) => Number(id))).toEqual(Array.from({ length: 2400 }, (_, n) => n));
});

test('all streams are ended when the reader has enough', async () => {
  const ended: string[] = [];
  async function* endless(name: string): AsyncGenerator<Bucket[], void, undefined> {
    try {
      for (let n = 0; ; n++) yield [hour(String(n).padStart(8, '0'), 1, 1)];
    } finally {
      ended.push(name);
    }
  }
  for await (const chunk of addedUp([endless('a'), endless('b')], () => undefined)) {
    expect(chunk).toHaveLength(500);
    break;
  }
  expect(ended).toEqual(['a', 'b']);
});
