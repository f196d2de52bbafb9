import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { OutboxError } from '../errors.ts';
import { emitFailed, scrub } from './failure.ts';
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

describe('an error of another client', () => {
  /** As Prisma wraps it: its own code has the form of a SQLSTATE, the server's is in a plain object. */
  function prismaError(originalCode: string, severity?: string): Error {
    const adapterError = Object.assign(new Error(CANARY), {
      cause: { originalCode, originalMessage: CANARY, message: CANARY, detail: CANARY, severity, table: CANARY },
    });
    return Object.assign(new Error(CANARY), {
      code: 'P2010',
      clientVersion: '7',
      meta: { driverAdapterError: adapterError },
    });
  }

  test('of Prisma tells the SQLSTATE and nothing else', () => {
    for (const code of ['23514', '42501', '42P01']) {
      const error = emitFailed(prismaError(code, 'ERROR'));
      expect(error.sqlState).toBe(code);
      expect(causeOf(error)).toEqual({ code });
      expect(printed(error)).not.toContain(CANARY);
    }
  });

  test('of Prisma without one of the server tells its own code', () => {
    const error = emitFailed(Object.assign(new Error(CANARY), { code: 'P1017', clientVersion: '7' }));
    expect(error.sqlState).toBeUndefined();
    expect(causeOf(error)).toEqual({ code: 'P1017' });
    expect(printed(error)).not.toContain(CANARY);
  });

  test('of postgres.js keeps a message about the statement, and its names', () => {
    const message = 'relation "outbox.event" does not exist';
    const fields = { name: 'PostgresError', message, query: 'INSERT', parameters: [CANARY], constraint: undefined };
    const error = emitFailed(
      serverError('42P01', { ...fields, constraint_name: 'no_a', table: undefined, table_name: 'event' }),
    );
    expect(error.message).toContain(message);
    expect(causeOf(error)).toMatchObject({ constraint: 'no_a', table: 'event' });
    expect(printed(error)).not.toContain(CANARY);
  });

  test('that quotes the statement in its message is told without it', () => {
    const message = `INSERT INTO outbox.event VALUES ('${CANARY}') - relation does not exist`;
    expect(printed(emitFailed(serverError('42P01', { message })))).not.toContain(CANARY);
    expect(printed(emitFailed(new Error(message)))).not.toContain(CANARY);
  });

  test('whose server says nothing of where it comes from is taken for one of a trigger', () => {
    expect(printed(emitFailed(serverError('42501', { routine: undefined, table: CANARY })))).not.toContain(CANARY);
  });

  test('that is one of ours stays as it is', () => {
    const ours = new OutboxError('OUTBOX_NO_TRANSACTION');
    expect(emitFailed(ours)).toBe(ours);
  });

  test('is left without values where its driver may throw it again', () => {
    const parameters = [CANARY];
    const error = serverError('23514', { parameters, args: parameters, query: 'INSERT' });
    scrub(error);
    expect(parameters).toEqual([]);
    expect(error).toMatchObject({ code: '23514', severity: 'ERROR' });
    expect(printed(error)).not.toContain(CANARY);
    scrub(undefined);
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

  test.for<[string, Record<string, unknown>]>([
    ['connect ECONNREFUSED', { code: 'ECONNREFUSED', errno: -111, syscall: 'connect' }],
    ['CONNECTION_CLOSED', { code: 'CONNECTION_CLOSED', errno: 'CONNECTION_CLOSED' }],
  ])('of the connection is told by its code, not by its message: %s', ([told, fields]) => {
    const error = emitFailed(Object.assign(new Error(CANARY), fields));
    expect(error.cause).toMatchObject({ message: told, code: fields['code'] });
    expect(error.message).toContain(`not answered: ${told}.`);
    expect(printed(error)).not.toContain(CANARY);
  });

  test.for<[string, unknown]>([
    ['an error of a contract', new Error(`Query failed with params ${CANARY}`)],
    ['an error of a contract with codes of its own', Object.assign(new Error(CANARY), { code: CANARY, errno: CANARY })],
    ['a number and a call that quote', Object.assign(new Error(CANARY), { code: 'E1', errno: 1, syscall: CANARY })],
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
