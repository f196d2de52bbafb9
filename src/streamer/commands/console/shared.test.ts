import { expect, test } from 'vitest';
import { Samples } from './samples.ts';
import { Shared } from './shared.ts';
import { cursorOf, parseCursor, readable } from './sql.ts';

test('Shared asks once for all who ask within its time, and again after a failure', async () => {
  let now = 0;
  let asked = 0;
  const shared = new Shared(
    100,
    async () => {
      asked++;
      if (asked === 3) throw new Error('away');
      return asked;
    },
    () => now,
  );
  expect(await Promise.all([shared.get(), shared.get()])).toEqual([1, 1]);
  now = 99;
  expect(await shared.get()).toBe(1);
  now = 100;
  expect(await Promise.all([shared.get(), shared.get()])).toEqual([2, 2]);
  now = 200;
  await expect(Promise.all([shared.get(), shared.get()])).rejects.toThrow('away');
  expect(await shared.get()).toBe(4);
});

test('Samples tell the highest of each step, and nothing where nobody looked', () => {
  const samples = new Samples();
  const at = (minute: number): number => minute * 60_000;
  samples.add(at(100), { keptBytes: 5, parts: 1 });
  samples.add(at(101), { keptBytes: 9, parts: null });
  samples.add(at(104), { keptBytes: 7, parts: 3 });
  expect(samples.series(99 * 60, 60, 7)).toEqual({
    keptBytes: [null, 5, 9, null, null, 7, null],
    parts: [null, 1, null, null, null, 3, null],
  });
  expect(samples.series(98 * 60, 240, 2)).toEqual({ keptBytes: [9, 7], parts: [1, 3] });
  // a week later the ring has come round
  samples.add(at(100 + 20_000), { keptBytes: 1, parts: 1 });
  expect(samples.series(99 * 60, 60, 3).keptBytes).toEqual([null, null, null]);
  expect(samples.series((100 + 20_000 - 2) * 60, 60, 3).keptBytes).toEqual([null, null, 1]);
});

test('a statement to copy holds every value as a literal', () => {
  const sql = 'SELECT * FROM {table:Identifier} WHERE a = {a:String} AND n = {n:UInt64} AND {other:String}';
  const parameters = { table: 'ev`ents', a: `it's \\ {n:UInt64}`, n: '7' };
  expect(readable({ sql, parameters })).toBe(
    "SELECT * FROM `ev\\`ents` WHERE a = 'it\\'s \\\\ {n:UInt64}' AND n = 7 AND {other:String}",
  );
});

test('a cursor is three numbers', () => {
  expect(parseCursor(cursorOf('-5', '18446744073709551615', 7))).toEqual({
    us: '-5',
    lsn: '18446744073709551615',
    seq: '7',
  });
  for (const text of ['', '1.2', '1.2.3.4', '1.2.3) OR (1', 'a.b.c']) expect(parseCursor(text)).toBeUndefined();
});
