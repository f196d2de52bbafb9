import { expect, test } from 'vitest';
import { BatchLimits } from './limits.ts';

const MOST = { rows: 1000, bytes: 100_000 };
const FIRST = { rows: 150, bytes: 20_000 };

function times(count: number, act: () => void): void {
  for (let i = 0; i < count; i++) act();
}

test('BatchLimits starts small, and doubles after each full batch up to what is allowed', () => {
  const limits = new BatchLimits(MOST, FIRST);
  const seen = Array.from({ length: 5 }, () => {
    const { rows, bytes } = limits;
    limits.filled();
    return [rows, bytes];
  });
  expect(seen).toEqual([
    [150, 20_000],
    [300, 40_000],
    [600, 80_000],
    [1000, 100_000],
    [1000, 100_000],
  ]);
  times(5000, () => limits.filled());
  expect(limits).toMatchObject(MOST);
});

test('BatchLimits never starts above what is allowed', () => {
  expect(new BatchLimits({ rows: 1, bytes: 65_536 })).toMatchObject({ rows: 1, bytes: 65_536 });
});

test('BatchLimits halves after a batch without room, down to a single row, and doubles after 20 settled batches', () => {
  const limits = new BatchLimits(MOST, MOST);
  limits.shrink();
  expect(limits).toMatchObject({ rows: 500, bytes: 50_000 });
  times(19, () => limits.settled());
  expect(limits.rows).toBe(500);
  limits.shrink();
  times(19, () => limits.settled());
  expect(limits.rows).toBe(250);
  limits.settled();
  expect(limits.rows).toBe(500);
  times(20, () => limits.settled());
  expect(limits).toMatchObject(MOST);
  times(100, () => limits.settled());
  expect(limits).toMatchObject(MOST);

  times(50, () => limits.shrink());
  expect(limits).toMatchObject({ rows: 3, bytes: 390 });
  const few = new BatchLimits({ rows: 2, bytes: 100_000 });
  times(50, () => few.shrink());
  expect(few.rows).toBe(1);
});

test('BatchLimits halves the first batches too, and then grows after 20 settled batches, not after full ones', () => {
  const limits = new BatchLimits(MOST, FIRST);
  limits.filled();
  expect(limits.rows).toBe(300);
  limits.filled();
  limits.shrink();
  expect(limits).toMatchObject({ rows: 150, bytes: 20_000 });
  times(10, () => limits.filled());
  expect(limits).toMatchObject({ rows: 150, bytes: 20_000 });
  times(20, () => limits.settled());
  expect(limits.rows).toBe(300);
  limits.filled();
  expect(limits.rows).toBe(600);
});
