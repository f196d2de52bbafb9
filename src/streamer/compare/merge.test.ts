import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { unequal, type Keyed, type Copies, type Unequal } from './merge.ts';

/** Few ids and few digests, so that equal ones are frequent. */
const row = fc.record({
  id: fc.constantFrom('00', '0a', 'a0', 'ff'),
  digest: fc.constantFrom('0', '9', 'a', 'f'),
});
/** A side: a multiset of rows, in chunks of any size, empty ones too. */
const side = fc.tuple(fc.array(row, { maxLength: 40 }), fc.infiniteStream(fc.integer({ min: 0, max: 4 })));

async function* chunked(rows: readonly Keyed[], sizes: Iterator<number>): AsyncGenerator<Keyed[], void, undefined> {
  for (let rest = rows; rest.length > 0;) {
    const size = sizes.next().value as number;
    yield rest.slice(0, size);
    rest = rest.slice(size);
  }
}

const sorted = (rows: readonly Keyed[]): Keyed[] =>
  rows.toSorted((a, b) => (a.id + a.digest < b.id + b.digest ? -1 : 1));

const counted = (rows: readonly Copies<Keyed>[]): Record<string, number> =>
  Object.fromEntries(rows.map(({ row: { digest }, count }) => [digest, count]));

const plain = ({ id, leftRows, rightRows, left, copies, right }: Unequal<Keyed, Keyed>) => ({
  id,
  leftRows,
  rightRows,
  left: counted(left),
  copies: counted(copies),
  right: counted(right),
});

/** Finds the same by counting, with everything in memory. */
function naive(left: readonly Keyed[], right: readonly Keyed[]) {
  const count = (rows: readonly Keyed[], id: string, digest?: string): number =>
    rows.filter((r) => r.id === id && (digest === undefined || r.digest === digest)).length;
  return [...new Set([...left, ...right].map(({ id }) => id))].toSorted().flatMap((id) => {
    const found = { left: {}, copies: {}, right: {} } as Record<'left' | 'copies' | 'right', Record<string, number>>;
    for (const digest of ['0', '9', 'a', 'f']) {
      const [l, r] = [count(left, id, digest), count(right, id, digest)];
      if (l > r) found.left[digest] = l - r;
      if (l > 0 && r > l) found.copies[digest] = r - l;
      if (l === 0 && r > 0) found.right[digest] = r;
    }
    const isEqual = Object.values(found).every((rows) => Object.keys(rows).length === 0);
    return isEqual ? [] : [{ id, leftRows: count(left, id), rightRows: count(right, id), ...found }];
  });
}

test('unequal yields the ids whose multisets differ, and what is left of them, however the streams are cut', async () => {
  await fc.assert(
    fc.asyncProperty(side, side, async ([left, leftSizes], [right, rightSizes]) => {
      const found: unknown[] = [];
      for await (const difference of unequal(chunked(sorted(left), leftSizes), chunked(sorted(right), rightSizes)))
        found.push(plain(difference));
      expect(found).toEqual(naive(left, right));
    }),
    { numRuns: 1000 },
  );
});

test('unequal keeps the last of equal rows', async () => {
  const chunks = async function* () {
    yield [{ id: '1', digest: 'a', n: 1 }];
    yield [{ id: '1', digest: 'a', n: 2 }];
  };
  const none = async function* (): AsyncGenerator<Keyed[]> {};
  for await (const { left } of unequal(chunks(), none()))
    expect(left).toEqual([{ row: { id: '1', digest: 'a', n: 2 }, count: 2 }]);
  expect.assertions(1);
});

test('unequal rejects a stream that is out of order, and closes both streams', async () => {
  const closed: string[] = [];
  const chunks = async function* (name: string, ids: string[]) {
    try {
      for (const id of ids) yield [{ id, digest: '' }];
    } finally {
      closed.push(name);
    }
  };
  const walk = async (): Promise<void> => {
    for await (const { id } of unequal(chunks('left', ['1', '3', '2']), chunks('right', ['1', '2', '3'])))
      expect(id).toBeTypeOf('string');
  };
  await expect(walk()).rejects.toThrow('out of order: 2 after 3');
  expect(closed.toSorted()).toEqual(['left', 'right']);
});

test('unequal ends both streams when the caller stops iterating', async () => {
  const closed: string[] = [];
  const chunks = async function* (name: string) {
    try {
      for (let n = 10; n < 99; n++) yield [{ id: String(n), digest: name }];
    } finally {
      closed.push(name);
    }
  };
  for await (const { id } of unequal(chunks('a'), chunks('b'))) {
    expect(id).toBe('10');
    break;
  }
  expect(closed.toSorted()).toEqual(['a', 'b']);
});
