import { expect, test } from 'vitest';
import { nearest } from './nearest.ts';

const NAMES = ['type', 'context', 'environment', 'metadataVersion'];

test.for([
  ['enviroment', 'environment'],
  ['Type', 'type'],
  ['contxt', 'context'],
  ['metadata_version', 'metadataVersion'],
  ['payload', undefined],
  ['', undefined],
  ['x'.repeat(100_000), undefined],
] as const)('nearest(%s) is %s', ([word, expected]) => {
  expect(nearest(word, NAMES)).toBe(expected);
});
