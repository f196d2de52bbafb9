import { expect, test } from 'vitest';
import { Places } from './places.ts';

const NEVER = new AbortController().signal;
const LONG_MS = 60_000;

test('Places lets so many work at once, and the others in turn', async () => {
  const places = new Places(2, LONG_MS);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const all = [0, 1, 2, 3].map(async (n) =>
    places.within(NEVER, async () => {
      begun.push(n);
      await new Promise<void>((resolve) => ends.push(resolve));
    }),
  );
  await new Promise(setImmediate);
  expect(begun).toEqual([0, 1]);
  ends[1]!();
  await all[1];
  await new Promise(setImmediate);
  expect(begun).toEqual([0, 1, 2]);
  for (const end of ends) end();
  await all[2];
  await new Promise(setImmediate);
  ends[3]!();
  await Promise.all(all);
  expect(begun).toEqual([0, 1, 2, 3]);
});

test('Places gives a place back that failed, and refuses who waits too long or leaves', async () => {
  const places = new Places(1, 1);
  const fails = places.within(NEVER, async () => Promise.reject(new Error('failed')));
  await expect(fails).rejects.toThrow('failed');
  let end = (): void => undefined;
  const holding = places.within(NEVER, async () => new Promise<void>((resolve) => (end = resolve)));
  await expect(places.within(NEVER, async () => Promise.resolve())).rejects.toMatchObject({
    code: 'OUTBOX_CONSOLE_BUSY',
  });
  const leaving = new AbortController();
  const left = places.within(leaving.signal, async () => Promise.resolve());
  leaving.abort(new Error('left'));
  await expect(left).rejects.toThrow('left');
  end();
  await holding;
  expect(await places.within(NEVER, async () => Promise.resolve(7))).toBe(7);
});
