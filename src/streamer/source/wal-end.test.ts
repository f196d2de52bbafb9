import { describe, expect, test } from 'vitest';
import { recordEnd } from './wal-end.ts';

describe('recordEnd of an insert position', () => {
  const [page, segment] = [8192, 16 * 2 ** 20];
  test.each([
    ['behind a page’s header is the page’s start', 5 * page + 24, 5 * page],
    ['behind a segment’s header is the segment’s start', 3 * segment + 40, 3 * segment],
    ['within a page is that position', 5 * page + 32, 5 * page + 32],
    ['as far into a page as a segment’s header is long is that position', 5 * page + 40, 5 * page + 40],
    ['at a page’s start is that position', 5 * page, 5 * page],
  ])('%s', (_, insert, end) => {
    expect(recordEnd(insert, page, segment)).toBe(end);
  });
});
