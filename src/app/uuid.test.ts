import { describe, expect, test } from 'vitest';
import { uuidv7 } from './uuid.ts';

function millisecondsOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

describe('uuidv7', () => {
  test('it gives the canonical form with version 7 and the variant of RFC 9562', () => {
    for (let i = 0; i < 1000; i += 1) {
      expect(uuidv7()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  test('its ids always grow, also when many fall into one millisecond and the counter overflows', () => {
    const ids = Array.from({ length: 50_000 }, () => uuidv7());
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(ids);
  });

  test('its ids always grow, also when the clock goes back', () => {
    const now = Date.now() + 1000;
    const ids = [uuidv7(now), uuidv7(now - 500), uuidv7(now - 1), uuidv7(now + 1)];
    expect(ids.toSorted()).toEqual(ids);
  });

  test('its ids hold the time in milliseconds', () => {
    const later = Date.now() + 100_000;
    expect(millisecondsOf(uuidv7(later))).toBe(later);
  });
});
