import { expect, test } from 'vitest';
import { columnsOf, fold, isColoured } from './terminal.ts';

test('a line that is too long continues below its text, or below its beginning', () => {
  expect(fold('  slot    reserved, 3 GB of WAL left', 24)).toBe('  slot    reserved, 3 GB\n          of WAL left');
  expect(fold('  one two three four', 10)).toBe('  one two\n  three\n  four');
  expect(fold('  - one two three', 10)).toBe('  - one\n    two\n    three');
  expect(fold('short\none two three', 9)).toBe('short\none two\nthree');
});

test('a word stays whole, as does a command, and colours count for nothing', () => {
  expect(fold('see https://example.com/long for more', 10)).toBe('see\nhttps://example.com/long\nfor more');
  expect(fold('Next: run `a b c d` and `e` again', 10)).toBe('Next: run\n`a b c d`\nand `e`\nagain');
  expect(fold('\u001B[31merror\u001B[39m here', 10)).toBe('\u001B[31merror\u001B[39m here');
});

test('a column that begins far to the right is not kept', () => {
  expect(fold('a_very_long_name  one two three', 20)).toBe('a_very_long_name\n    one two three');
});

test('only a terminal has a width, and one that does not know its own has 80 columns', () => {
  expect(columnsOf({ isTTY: false, columns: 80 })).toBe(Infinity);
  expect(columnsOf({ isTTY: true, columns: 0 })).toBe(80);
  expect(columnsOf({ isTTY: true, columns: 120 })).toBe(120);
});

test.for<readonly [string, { isTTY: boolean; isFile: boolean }, Record<string, string>, boolean]>([
  ['a terminal', { isTTY: true, isFile: false }, {}, true],
  ['a terminal with NO_COLOR', { isTTY: true, isFile: false }, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
  ['a terminal with FORCE_COLOR=0', { isTTY: true, isFile: false }, { FORCE_COLOR: '0' }, false],
  ['a terminal without colours', { isTTY: true, isFile: false }, { TERM: 'dumb' }, false],
  ['a pipe', { isTTY: false, isFile: false }, {}, false],
  ['a pipe with FORCE_COLOR', { isTTY: false, isFile: false }, { FORCE_COLOR: '1' }, true],
  ['a file with FORCE_COLOR', { isTTY: false, isFile: true }, { FORCE_COLOR: '3' }, false],
])('colours for %s', ([, reader, environment, expected]) => {
  expect(isColoured(reader, environment)).toBe(expected);
});
