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
] as const)('nearest(%s) with at most a third of the letters wrong is %s', ([word, expected]) => {
  expect(nearest(word, NAMES, 1 / 3)?.name).toBe(expected);
});

test.for([
  ['contxt', 'context', 1],
  ['metadata_version', 'metadataVersion', 0],
  ['', 'type', 4],
] as const)('nearest(%s) without a limit is %s, %d edits away', ([word, name, edits]) => {
  expect(nearest(word, NAMES)).toEqual({ name, edits });
});
