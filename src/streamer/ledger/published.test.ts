import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PACKAGE_NAME } from '../../package.ts';
import { PUBLISHED_LSN, PUBLISHED_OLDEST_MS, publishedName } from './published.ts';

const patternOf = (sql: string): RegExp => new RegExp(/(?:FROM|,) '(\^[^']+)'/.exec(sql)![1]!);
const NAMES = [
  [publishedName({ appliedLsn: 0x1_0000_00ff, oldestMs: undefined }), undefined],
  [publishedName({ appliedLsn: 0x1_0000_00ff, oldestMs: 1_790_000_000_000.4 }), '1790000000000'],
] as const;

test.for(NAMES)('%s is read back by the streamer', ([name, oldestMs]) => {
  expect(patternOf(PUBLISHED_LSN).exec(name)?.[1]).toBe('1/FF');
  expect(patternOf(PUBLISHED_OLDEST_MS).exec(name)?.[1]).toBe(oldestMs);
  expect(Buffer.byteLength(name)).toBeLessThanOrEqual(52);
});

test.for(NAMES)('%s is read back by `untilDelivered` of the library', ([name]) => {
  const source = readFileSync('src/app/testing/delivered.ts', 'utf8').replaceAll('${PACKAGE_NAME}', PACKAGE_NAME);
  expect(patternOf(source).exec(name)?.[1]).toBe('1/FF');
});

test('the name of a connection that publishes nothing is not read as a position', () => {
  expect(patternOf(PUBLISHED_LSN).exec(PACKAGE_NAME)).toBeNull();
});
