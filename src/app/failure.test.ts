import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { OutboxError } from '../errors.ts';
import { emitFailed } from './failure.ts';
import { Hidden } from './hidden.ts';

const CANARY = 'canary-5f1d';

/** Everything that a logger could print of an error. */
function printed(error: Error): string {
  const parts: string[] = [];
  for (let next: unknown = error; next instanceof Error; next = next.cause) {
    parts.push(
      next.message,
      next.stack ?? '',
      String(next),
      JSON.stringify(next),
      inspect(next, { depth: null, showHidden: true }),
    );
    for (const name of Object.getOwnPropertyNames(next)) parts.push(String(Reflect.get(next, name)));
  }
  return parts.join('\n');
}

/** An error as node-postgres makes it of a server's answer. */
function serverError(code: string, fields: Record<string, unknown> = {}): Error {
  return Object.assign(new Error(`the message ${CANARY}`), {
    severity: 'ERROR',
    code,
    detail: `Failing row contains (${CANARY}).`,
    hint: CANARY,
    where: `JSON data, line 1: ${CANARY}`,
    internalQuery: CANARY,
    column: CANARY,
    schema: 'outbox',
    table: 'event',
    constraint: 'a_check',
    routine: 'ExecConstraints',
    ...fields,
  });
}

/** As drizzle wraps it: query and parameters in message and fields. */
function drizzleError(cause: unknown): Error {
  const error = new Error(`Failed query: insert\nparams: ${CANARY}`, { cause });
  return Object.assign(error, { query: 'insert', params: [CANARY] });
}

function causeOf({ cause }: OutboxError): Record<string, unknown> {
  return Object.fromEntries(Object.entries(cause ?? {}));
}

describe('an error of the server', () => {
  test.for(['22P02', '22001', '23502', '23514', '23505', 'P0001', '44000', 'ABCDE', '99999', 'HV000'])(
    'of SQLSTATE %s tells facts, but no message and no row',
    (code) => {
      for (const thrown of [
        serverError(code),
        drizzleError(serverError(code)),
        drizzleError(drizzleError(serverError(code))),
      ]) {
        const error = emitFailed(thrown);
        expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: code });
        expect(causeOf(error)).toEqual({ code, constraint: 'a_check', table: 'event', routine: 'ExecConstraints' });
        expect(printed(error)).not.toContain(CANARY);
      }
    },
  );

  test.for(['42P01', '42501', '40001', '40P01', '25P02', '25006', '53100', '57014', 'XX000'])(
    'of SQLSTATE %s keeps its message, which is about the statement',
    (code) => {
      const message = 'relation "outbox.event" does not exist';
      const error = emitFailed(drizzleError(serverError(code, { message })));
      expect(error.message).toContain(`(SQLSTATE ${code})`.slice(1, -1));
      expect(error.message).toContain(message);
      expect(error.cause).toMatchObject({ message });
      expect(printed(error)).not.toContain(CANARY);
    },
  );

  test('raised by a trigger keeps its message to itself, whatever its SQLSTATE', () => {
    expect(printed(emitFailed(serverError('42501', { routine: 'exec_stmt_raise' })))).not.toContain(CANARY);
  });
});

describe('any other error', () => {
  test('of the connection keeps message and code', () => {
    const reset = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', errno: -32, syscall: 'write' });
    const error = emitFailed(reset);
    expect(error.sqlState).toBeUndefined();
    expect(error.message).toContain('write EPIPE');
    expect(error.cause).toMatchObject({ message: 'write EPIPE', code: 'EPIPE' });
  });

  test('that wraps one of the connection gives way to it', () => {
    const error = emitFailed(drizzleError(new Error('Connection terminated unexpectedly')));
    expect(error.message).toContain('Connection terminated unexpectedly');
    expect(printed(error)).not.toContain(CANARY);
  });

  test.for<[string, unknown]>([
    ['a wrapper without a cause', drizzleError(undefined)],
    ['a string', CANARY],
    ['an object', { message: CANARY }],
    ['undefined', undefined],
  ])('is told without its contents: %s', ([, thrown]) => {
    const error = emitFailed(thrown);
    expect(error.code).toBe('OUTBOX_EMIT_FAILED');
    expect(printed(error)).not.toContain(CANARY);
  });

  test('whose causes form a ring ends', () => {
    const ring = drizzleError(undefined);
    ring.cause = ring;
    expect(printed(emitFailed(ring))).not.toContain(CANARY);
  });
});

test('a hidden parameter shows its label to everything but the driver', () => {
  const hidden = new Hidden(CANARY, 'event context');
  const shown = [
    JSON.stringify([hidden]),
    String(hidden),
    `params: ${[hidden].join()}`,
    inspect({ hidden }, { showHidden: true }),
  ];
  expect(shown).toEqual([
    '["[event context]"]',
    '[event context]',
    'params: [event context]',
    '{ hidden: [event context] }',
  ]);
  expect(hidden.toPostgres()).toBe(CANARY);
});
