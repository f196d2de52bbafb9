import { styleText } from 'node:util';
import { expect, test } from 'vitest';
import { printable } from './printable.ts';

test('printable shows what a terminal would act upon, and leaves text, lines and our own colours as they are', () => {
  const red = styleText('red', 'x', { validateStream: false });
  expect(printable(`größe 🛒 👩‍👩‍👧\n\tend ${red}\r\n`)).toBe(`größe 🛒 👩‍👩‍👧\n\tend ${red}\r\n`);
  expect(printable('\r\u001b[2Kcomparing')).toBe('\r\u001b[2Kcomparing');
  expect(printable('a\u001b[2J\u001b[Hb\u001b]0;title\u0007')).toBe('a\\u001b[2J\\u001b[Hb\\u001b]0;title\\u0007');
  expect(printable('\u009b31m\u202egnp\u2066\u2028\u0000\ufeff')).toBe(
    '\\u009b31m\\u202egnp\\u2066\\u2028\\u0000\\ufeff',
  );
  expect(printable('name\r   GRANT all; --')).toBe('name\\u000d   GRANT all; --');
  // what nobody sees, and what is written in letters that are not there
  expect(printable('a\u00ad\u3164b\u{e0001}\u{e0061}')).toBe('a\\u00ad\\u3164b\\udb40\\udc01\\udb40\\udc61');
  // conceals what follows
  expect(printable('a\u001b[8mb')).toBe('a\\u001b[8mb');
});

test('printable keeps JSON what it is', () => {
  const value = { '\u202e\u009b\u{e0061}': '\u2028\u0007 "quoted" \\u202e' };
  expect(JSON.parse(printable(JSON.stringify(value, null, 2)))).toEqual(value);
});
