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
    internalQuery: CANARY,
    column: CANARY,
    schema: 'outbox',
    table: 'event',
    constraint: 'a_check',
    routine: 'ExecConstraints',
    ...fields,
  });
}

/** An error as drizzle wraps it: query and parameters are in its message and in its fields. */
function drizzleError(cause: unknown): Error {
  const error = new Error(`Failed query: insert\nparams: ${CANARY}`, { cause });
  return Object.assign(error, { query: 'insert', params: [CANARY] });
}

function causeOf({ cause }: OutboxError): Record<string, unknown> {
  return Object.fromEntries(Object.entries(cause ?? {}));
}

describe('emitFailed, for an error of the server', () => {
  test.for(['22P02', '22001', '23502', '23514', '23505', 'P0001', '44000', 'ABCDE', '99999', 'HV000'])(
    'it keeps the facts of SQLSTATE %s, but no message and no row',
    (code) => {
      for (const thrown of [
        serverError(code),
        drizzleError(serverError(code)),
        drizzleError(drizzleError(serverError(code, { where: `JSON data, line 1: ${CANARY}` }))),
      ]) {
        const error = emitFailed(thrown);
        expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: code });
        expect(causeOf(error)).toEqual({ code, constraint: 'a_check', table: 'event', routine: 'ExecConstraints' });
        expect(printed(error)).not.toContain(CANARY);
      }
    },
  );

  test.for<[string, Record<string, unknown>]>([
    ['42P01', { position: '13' }],
    ['42501', { routine: 'aclcheck_error', message: 'permission denied for table event' }],
    ...['40001', '40P01', '25P02', '25006', '53100', '55P03', '57014'].map(
      (code): [string, Record<string, unknown>] => [code, {}],
    ),
  ])(
    'it keeps the message of SQLSTATE %s, which is about statement or session',
    ([code, { message = 'relation "outbox.event" does not exist', ...fields }]) => {
      const error = emitFailed(drizzleError(serverError(code, { message, ...fields })));
      expect(error.message).toContain(`(SQLSTATE ${code})`.slice(1, -1));
      expect(error.message).toContain(message);
      expect(error.cause).toMatchObject({ message });
      expect(printed(error)).not.toContain(CANARY);
    },
  );

  test.for<[string, Record<string, unknown>]>([
    ['42704', { routine: 'get_ts_config_oid', message: `text search configuration "${CANARY}" does not exist` }],
    ['42P01', { routine: 'RangeVarGetRelidExtended', message: `relation "${CANARY}" does not exist` }],
    ['3F000', { routine: 'get_namespace_oid', message: `schema "${CANARY}" does not exist` }],
    ['42501', { routine: 'aclcheck_error', message: `permission denied for schema ${CANARY}` }],
    ['54000', { routine: 'pushValue', message: `word is too long in tsquery: "${CANARY}"` }],
    ['58P01', { routine: 'AllocateFile', message: `could not open file "${CANARY}"` }],
    ['XX000', { routine: 'parse_WKT_lwgeom', message: `parse error - invalid geometry: ${CANARY}` }],
  ])('it withholds the message of SQLSTATE %s, when a constraint that works on the values met it', ([code, fields]) => {
    expect(printed(emitFailed(drizzleError(serverError(code, fields))))).not.toContain(CANARY);
  });

  test('it withholds the message of an error that a trigger raised, whatever its SQLSTATE', () => {
    expect(printed(emitFailed(serverError('42501', { routine: 'exec_stmt_raise' })))).not.toContain(CANARY);
  });
});

describe('emitFailed tells the next step', () => {
  test.for([
    ['42P01', /^Run `pg-outbox-clickhouse migrate` on this database/],
    ['42501', /^Grant .*`GRANT outbox_producer TO/],
    ['40001', /^Roll back, and run the whole transaction again: another/],
    ['23514', /constraint that `cause` names/],
    ['57P01', /on another connection/],
    ['XX000', /errcodes-appendix/],
  ] as const)('of SQLSTATE %s', ([code, step]) => {
    expect(emitFailed(drizzleError(serverError(code))).next).toMatch(step);
  });

  test('of an INSERT that was not answered', () => {
    expect(emitFailed(new Error('Connection terminated')).next).toMatch(/nothing of it was committed/);
  });
});

describe('emitFailed, for an error of another client', () => {
  /** An error as Prisma wraps it: its own code has the form of a SQLSTATE, and the server's code is in a plain object. */
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

  test('it keeps only the SQLSTATE of an error of Prisma', () => {
    for (const code of ['23514', '42501', '42P01']) {
      const error = emitFailed(prismaError(code, 'ERROR'));
      expect(error.sqlState).toBe(code);
      expect(causeOf(error)).toEqual({ code });
      expect(printed(error)).not.toContain(CANARY);
    }
  });

  test('it keeps the code of Prisma when there is no SQLSTATE', () => {
    const error = emitFailed(Object.assign(new Error(CANARY), { code: 'P1017', clientVersion: '7' }));
    expect(error.sqlState).toBeUndefined();
    expect(causeOf(error)).toEqual({ code: 'P1017' });
    expect(printed(error)).not.toContain(CANARY);
  });

  test('it keeps message, constraint and table of an error of postgres.js about the statement', () => {
    const message = 'relation "outbox.event" does not exist';
    const fields = {
      name: 'PostgresError',
      message,
      position: '13',
      query: 'INSERT',
      parameters: [CANARY],
      constraint: undefined,
    };
    const error = emitFailed(
      serverError('42P01', { ...fields, constraint_name: 'no_a', table: undefined, table_name: 'event' }),
    );
    expect(error.message).toContain(message);
    expect(causeOf(error)).toMatchObject({ constraint: 'no_a', table: 'event' });
    expect(printed(error)).not.toContain(CANARY);
  });

  test('it withholds a message that quotes the statement', () => {
    const message = `INSERT INTO outbox.event VALUES ('${CANARY}') - relation does not exist`;
    expect(printed(emitFailed(serverError('42P01', { message })))).not.toContain(CANARY);
    expect(printed(emitFailed(new Error(message)))).not.toContain(CANARY);
  });

  test('it withholds the message when the error does not name the routine that raised it', () => {
    expect(printed(emitFailed(serverError('42501', { routine: undefined, table: CANARY })))).not.toContain(CANARY);
  });

  test('it returns an OutboxError as it is', () => {
    const ours = new OutboxError('OUTBOX_NO_TRANSACTION');
    expect(emitFailed(ours)).toBe(ours);
  });

  test('scrub removes all values from an error that its driver may throw again', () => {
    const parameters = [CANARY];
    const error = serverError('23514', { parameters, args: parameters, query: 'INSERT' });
    scrub(error);
    expect(parameters).toEqual([]);
    expect(error).toMatchObject({ code: '23514', severity: 'ERROR' });
    expect(printed(error)).not.toContain(CANARY);
    scrub(undefined);
  });
});

describe('emitFailed, for any other error', () => {
  test('it keeps message and code of an error of the connection', () => {
    const reset = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', errno: -32, syscall: 'write' });
    const error = emitFailed(reset);
    expect(error.sqlState).toBeUndefined();
    expect(error.message).toContain('write EPIPE');
    expect(error.cause).toMatchObject({ message: 'write EPIPE', code: 'EPIPE' });
  });

  test('it takes the message of an error of the connection out of its wrapper', () => {
    const error = emitFailed(drizzleError(new Error('Connection terminated unexpectedly')));
    expect(error.message).toContain('Connection terminated unexpectedly');
    expect(printed(error)).not.toContain(CANARY);
  });

  test.for<[string, Record<string, unknown>]>([
    ['connect ECONNREFUSED', { code: 'ECONNREFUSED', errno: -111, syscall: 'connect' }],
    ['CONNECTION_CLOSED', { code: 'CONNECTION_CLOSED', errno: 'CONNECTION_CLOSED' }],
  ])('it names an error of the connection by its code, not by its message: %s', ([told, fields]) => {
    const error = emitFailed(Object.assign(new Error(CANARY), fields));
    expect(error.cause).toMatchObject({ message: told, code: fields['code'] });
    expect(error.message).toContain(`not answered: ${told}.`);
    expect(printed(error)).not.toContain(CANARY);
  });

  test.for<[string, unknown]>([
    ['an error of a contract', new Error(`Query failed with params ${CANARY}`)],
    ['an error of a contract with codes of its own', Object.assign(new Error(CANARY), { code: CANARY, errno: CANARY })],
    ['an error whose call quotes a value', Object.assign(new Error(CANARY), { code: 'E1', errno: 1, syscall: CANARY })],
    ['a wrapper without a cause', drizzleError(undefined)],
    ['a string', CANARY],
    ['an object', { message: CANARY }],
    ['undefined', undefined],
  ])('it withholds the contents of %s', ([, thrown]) => {
    const error = emitFailed(thrown);
    expect(error.code).toBe('OUTBOX_EMIT_FAILED');
    expect(printed(error)).not.toContain(CANARY);
  });

  test('it ends when the causes form a ring', () => {
    const ring = drizzleError(undefined);
    ring.cause = ring;
    expect(printed(emitFailed(ring))).not.toContain(CANARY);
  });
});

test('Hidden shows its label to loggers, and its text only to the driver', () => {
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

test('emitFailed withholds what arose in a function: it may be put together from values', () => {
  const where = 'PL/pgSQL function audit() line 3 at EXECUTE';
  const error = emitFailed(serverError('42P01', { message: `relation "audit_${CANARY}" does not exist`, where }));
  expect(error.message).toContain('SQLSTATE 42P01');
  expect(printed(error)).not.toContain(CANARY);
});
