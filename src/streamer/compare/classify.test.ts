import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { classify, type Kind, type Rejected } from './classify.ts';
import { FIELDS } from './digest.ts';
import type { OutboxRow } from './outbox.ts';
import type { TableRow } from './table.ts';

const OLDEST = 1000n;
const NONE: Rejected = { quarantined: 0, discarded: 0 };
const FIELDS_OF = (digest: string): string => FIELDS.map((_, i) => (i === 0 ? digest : '-')).join(' ');

const outbox = (digest: string): OutboxRow => ({ id: 'x', digest, us: '0', recorded: '0', fields: FIELDS_OF(digest) });
const table = (digest: string, committed = 2000): TableRow => ({
  id: 'x',
  digest,
  us: '0',
  atLsn: '1',
  atSeq: 1,
  committed: String(committed),
  fields: FIELDS_OF(digest),
});

/** The kinds for texts such as `aab`, in which each letter is a row. */
function kinds(left: string, right: string, rejected = NONE, committed?: number): string[] {
  const times = (text: string, digest: string): number => text.split(digest).length - 1;
  const digests = [...new Set(left + right)].toSorted();
  const more = (a: string, b: string, digest: string): number => Math.max(0, times(a, digest) - times(b, digest));
  const side = <Row>(a: string, b: string, row: (digest: string) => Row, when: (digest: string) => boolean) =>
    digests
      .filter((digest) => when(digest) && more(a, b, digest) > 0)
      .map((digest) => ({ row: row(digest), count: more(a, b, digest) }));
  const copy = (digest: string): TableRow => table(digest, committed);
  return classify(
    {
      id: 'x',
      leftRows: left.length,
      rightRows: right.length,
      left: side(left, right, outbox, () => true),
      copies: side(right, left, copy, (digest) => left.includes(digest)),
      right: side(right, left, copy, (digest) => !left.includes(digest)),
    },
    rejected,
    OLDEST,
  ).map(({ kind, count, fields }) => `${count} ${kind}${fields.length > 0 ? ` ${fields.join()}` : ''}`);
}

test.each([
  ['a', '', ['1 missing']],
  ['aab', 'b', ['2 missing']],
  ['', 'a', ['1 extra']],
  ['a', 'aaa', ['2 double']],
  ['a', 'b', ['1 altered event_date_time']],
  ['aa', 'ab', ['1 altered event_date_time']],
  // a copy of another event of the same id does not stand for the one that is missing
  ['ab', 'aa', ['1 double', '1 missing']],
  ['a', 'ab', ['1 double']],
  ['a', 'bb', ['1 altered event_date_time', '1 double']],
  ['aab', 'ccccd', ['2 altered event_date_time', '1 altered event_date_time', '1 double', '1 double']],
])('classify of %j in Postgres and %j in ClickHouse is %j', (left, right, expected) => {
  expect(kinds(left, right)).toEqual(expected);
});

test('classify calls as many rows quarantined or discarded as were, and only the rest missing', () => {
  expect(kinds('a', '', { quarantined: 1, discarded: 0 })).toEqual(['1 quarantined']);
  expect(kinds('aab', '', { quarantined: 1, discarded: 1 })).toEqual(['1 quarantined', '1 discarded', '1 missing']);
  expect(kinds('a', 'b', { quarantined: 1, discarded: 0 })).toEqual(['1 altered event_date_time']);
  expect(kinds('a', '', { quarantined: 9, discarded: 9 })).toEqual(['1 quarantined']);
});

test('classify calls a row that only ClickHouse has expired when it is older than the oldest event of the outbox', () => {
  expect(kinds('', 'ab', NONE, 999)).toEqual(['1 expired', '1 expired']);
  expect(kinds('', 'ab', NONE, 1000)).toEqual(['1 extra', '1 extra']);
  expect(kinds('a', 'ab', NONE, 999)).toEqual(['1 double']);
});

test('classify counts every row once', () => {
  const rows = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 });
  const small = fc.nat(3);
  fc.assert(
    fc.property(rows, rows, small, small, (left, right, quarantined, discarded) => {
      const sums = new Map<Kind, number>();
      for (const line of kinds(left, right, { quarantined, discarded })) {
        const [count, kind] = line.split(' ') as [string, Kind];
        sums.set(kind, (sums.get(kind) ?? 0) + Number(count));
      }
      const sum = (...of: Kind[]): number => of.reduce((total, kind) => total + (sums.get(kind) ?? 0), 0);
      const lost = sum('missing', 'quarantined', 'discarded');
      expect(left.length - lost).toBe(right.length - sum('double', 'extra', 'expired'));
      expect(sum('quarantined')).toBeLessThanOrEqual(quarantined);
      expect(sum('discarded')).toBeLessThanOrEqual(discarded);
    }),
  );
});
