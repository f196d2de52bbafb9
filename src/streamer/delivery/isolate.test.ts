import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { ClickHouseRefusal } from '../clickhouse/refusal.ts';
import type { Rows } from '../batch/rows.ts';
import { isolate } from './isolate.ts';
import type { Answer, Rejection } from './reliable-insert.ts';

const REJECTION: Rejection = {
  error: new ClickHouseRefusal({ code: 'OUTBOX_CH_ROW_REFUSED', fault: 'row' }, 'rejected', 469),
  isPartlyThere: false,
};

/** Isolates the bad ones among some rows. Returns what was inserted, quarantined and sent, each in its order. */
async function isolated(
  count: number,
  bad: ReadonlySet<number>,
  first = REJECTION,
  there: ReadonlySet<number> = new Set(),
) {
  const inserted: number[] = [];
  const quarantined: number[] = [];
  const confirmed: number[] = [];
  const sent: { rows: Rows; isAbsent: boolean }[] = [];
  const insert = async (rows: Rows, isAbsent: boolean): Promise<Answer> => {
    sent.push({ rows, isAbsent });
    const range = Array.from({ length: rows.to - rows.from }, (_, i) => rows.from + i);
    if (range.some((row) => bad.has(row))) return REJECTION;
    inserted.push(...range);
    return range.every((row) => there.has(row)) ? 'there' : 'taken';
  };
  const counted = await isolate({ from: 0, to: count }, first, {
    split: async (rows, isPartlyThere) => insert(rows, !isPartlyThere),
    next: insert,
    confirm: async (row, rejection) => {
      confirmed.push(row);
      return rejection;
    },
    quarantine: async (row) => void quarantined.push(row),
  });
  return { counted, inserted, quarantined, confirmed, sent };
}

test('isolate puts exactly the events at fault into quarantine, in order, and inserts all others once, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 40 }),
      fc.array(fc.nat({ max: 39 }), { minLength: 1, maxLength: 40 }),
      async (count, faults) => {
        const bad = new Set(faults.map((fault) => fault % count));
        const { counted, inserted, quarantined } = await isolated(count, bad);
        const all = Array.from({ length: count }, (_, row) => row);
        expect(quarantined).toEqual(all.filter((row) => bad.has(row)));
        expect(inserted).toEqual(all.filter((row) => !bad.has(row)));
        expect(counted).toBe(bad.size);
      },
    ),
  );
});

test('isolate has an event confirmed that is rejected before the table has taken another', async () => {
  const confirmedOf = async (count: number, bad: number[]) => (await isolated(count, new Set(bad))).confirmed;
  expect(await confirmedOf(1, [0])).toEqual([0]);
  expect(await confirmedOf(8, [0])).toEqual([0]);
  expect(await confirmedOf(8, [5])).toEqual([]);
  expect(await confirmedOf(8, [0, 1, 5])).toEqual([0]);
  // one that is taken vouches for ten
  expect(await confirmedOf(16, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])).toEqual([11]);
});

test('isolate needs about two inserts for each halving when one event is at fault', async () => {
  const { sent } = await isolated(1024, new Set([700]));
  expect(sent).toHaveLength(20);
});

test('isolate does not call rows absent that an earlier insert may have written', async () => {
  const { sent } = await isolated(4, new Set([1]), { ...REJECTION, isPartlyThere: true });
  expect(sent).toEqual([
    { rows: { from: 0, to: 2 }, isAbsent: false },
    { rows: { from: 0, to: 1 }, isAbsent: true },
    { rows: { from: 1, to: 2 }, isAbsent: true },
    { rows: { from: 2, to: 4 }, isAbsent: false },
  ]);
});

test('isolate takes no event that was found there for a sign that the table takes others', async () => {
  const { confirmed } = await isolated(2, new Set([1]), REJECTION, new Set([0]));
  expect(confirmed).toEqual([1]);
});
