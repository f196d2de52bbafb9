import { expect, test } from 'vitest';
import { hasFix } from './fixed-versions.ts';

test.each([
  ['25.8.1.1', false],
  ['26.3.33.60', false],
  ['26.3.33.61', true],
  ['26.3.34.1', true],
  ['26.4.9.999', false],
  ['26.7.2.1', false],
  ['26.7.7.87', true],
  ['26.7.10.1-lts', true],
  ['26.8.3.97', false],
  ['26.9.1.1', true],
  ['27.1.1.1', true],
])('hasFix of ClickHouse %s is %s', (version, expected) => {
  expect(hasFix(version)).toBe(expected);
});
