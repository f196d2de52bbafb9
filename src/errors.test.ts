import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, ERRORS, OutboxError, policyOf } from './errors.ts';

const codes = Object.keys(ERRORS).filter((code): code is ErrorCode => code in ERRORS);

describe.each(codes)('%s', (code) => {
  test('has a stable form and says what happened and what to do', () => {
    expect(code).toMatch(/^OUTBOX_[A-Z]+(_[A-Z]+)*$/);
    for (const text of [ERRORS[code].happened, ERRORS[code].next]) {
      expect(text).toMatch(/^\S.+\S$/);
      expect(text).toMatch(/\.$/);
    }
    const { happened, next } = ERRORS[code];
    const told = policyOf(code) === 'throw' ? `${happened}\nNext: ${next} (${code})` : happened;
    expect(new OutboxError(code)).toMatchObject({ code, message: told, next });
  });
});

describe('OutboxError', () => {
  test('is an Error with a name, a stack and empty details', () => {
    const error = new OutboxError('OUTBOX_PROTOCOL');
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('OutboxError');
    expect(error.stack).toContain('errors.test.ts');
    expect(error.problems).toEqual([]);
    for (const name of ['sqlState', 'clickhouseCode', 'cause']) expect(Object.hasOwn(error, name)).toBe(false);
  });

  test('shows its code and its next step once, in whatever prints an error, and nothing that is not known', () => {
    const shownOf = (code: ErrorCode): string => inspect(new OutboxError(code), { breakLength: Infinity });
    const thrown = shownOf('OUTBOX_NO_TRANSACTION');
    const { happened, next } = ERRORS.OUTBOX_NO_TRANSACTION;
    expect(thrown).toContain(`OutboxError: ${happened}\nNext: ${next} (OUTBOX_NO_TRANSACTION)\n    at `);
    expect(thrown.slice(thrown.lastIndexOf('{'))).toBe("{\n  code: 'OUTBOX_NO_TRANSACTION',\n  problems: []\n}");
    const logged = shownOf('OUTBOX_PROTOCOL');
    const step = inspect(ERRORS.OUTBOX_PROTOCOL.next, { breakLength: Infinity });
    expect(logged.slice(logged.lastIndexOf('{'))).toBe(
      `{\n  code: 'OUTBOX_PROTOCOL',\n  next: ${step},\n  problems: []\n}`,
    );
  });

  test('has a next step of its own where one is given', () => {
    expect(new OutboxError('OUTBOX_EMIT_FAILED', { next: 'Do this.' }).next).toBe('Do this.');
  });

  test('uses the detail as its message instead of the general text', () => {
    expect(new OutboxError('OUTBOX_PROTOCOL', { detail: 'Message Z is unknown.' }).message).toBe(
      'Message Z is unknown.',
    );
  });

  test('puts every problem on a line of its message, so that a plain stack shows them all', () => {
    const problems = ['type is missing', 'context is not an object'];
    const error = new OutboxError('OUTBOX_EVENT_INVALID', { problems });
    expect(error.message.split('\n').slice(1, -1)).toEqual(['  - type is missing', '  - context is not an object']);
    expect(error.problems).toEqual(problems);
  });

  test('keeps the server’s codes and the cause', () => {
    const cause = new Error('connection terminated');
    const error = new OutboxError('OUTBOX_PG_FAILED', { sqlState: '57P01', clickhouseCode: 241, cause });
    expect(error).toMatchObject({ sqlState: '57P01', clickhouseCode: 241 });
    expect(error.cause).toBe(cause);
  });
});
