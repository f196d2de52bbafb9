import { describe, expect, test } from 'vitest';
import { ERRORS, OutboxError } from '../../errors.ts';
import { createLogger, type Logger } from './log.ts';

const CANARY = 'canary-4711';

function logged(write: (log: Logger) => void, level: 'trace' | 'info' | 'silent' = 'info'): Record<string, unknown>[] {
  const lines: string[] = [];
  write(createLogger({ level }, { write: (line) => lines.push(line) }));
  return lines.map((line) => JSON.parse(line));
}

/** What pg throws for a violated constraint: the row's values stand in `detail` and `where`. */
function pgLikeError(): Error {
  return Object.assign(new Error('duplicate key value violates unique constraint "event_pkey"'), {
    code: '23505',
    severity: 'ERROR',
    detail: `Key (id)=(${CANARY}) already exists.`,
    where: `COPY event, line 1: "${CANARY}"`,
    parameters: [CANARY],
    client: { connectionParameters: { password: CANARY } },
  });
}

function debugAndInfo(log: Logger): void {
  log.debug('fine');
  log.info('coarse');
}

describe('A log line', () => {
  test('has an ISO time, the level as a word and the service, but no pid or hostname', () => {
    const [line] = logged((log) => log.warn({ slot: 'outbox' }, 'slot is busy'));
    const { time, ...rest } = line!;
    expect(rest).toEqual({ level: 'warn', service: 'pg-outbox-clickhouse', slot: 'outbox', msg: 'slot is busy' });
    expect(new Date(String(time)).toISOString()).toBe(time);
  });

  test('is written only when the level allows it', () => {
    expect(logged(debugAndInfo)).toHaveLength(1);
    expect(logged(debugAndInfo, 'trace')).toHaveLength(2);
    expect(logged(debugAndInfo, 'silent')).toHaveLength(0);
  });
});

test('createLogger keeps what only looks like a password in a URL, and writes JSON', () => {
  const fields = { a: 'http://ch:8123/x?mail=a@b', b: 'http://ch:8123', c: 'd@e' };
  expect(logged((log) => log.info(fields, 'x'))[0]).toMatchObject(fields);
});

test('createLogger writes as an escape what a terminal would act upon, whatever holds it, and the line stays JSON', () => {
  const lines: string[] = [];
  const odd = 'v\u009b31m\u202e\u00ad\u{e0061}';
  createLogger({ level: 'info' }, { write: (line) => lines.push(line) }).info({ views: [odd], [odd]: 1 }, odd);
  expect(lines.join('')).not.toMatch(/[\u009b\u202e\u00ad\u{e0061}]/u);
  expect(JSON.parse(lines[0]!)).toMatchObject({ views: [odd], [odd]: 1, msg: odd });
});

describe('An OutboxError in the log', () => {
  test('shows code, message, next step, the servers’ codes, problems and cause', () => {
    const error = new OutboxError('OUTBOX_PG_FAILED', {
      detail: 'The ledger could not be written.',
      problems: ['one', 'two'],
      sqlState: '23505',
      clickhouseCode: 241,
      cause: pgLikeError(),
    });
    const [line] = logged((log) => log.error({ err: error }, 'delivery stopped'));
    expect(line!['err']).toEqual({
      code: 'OUTBOX_PG_FAILED',
      message: 'The ledger could not be written.\n  - one\n  - two',
      next: ERRORS.OUTBOX_PG_FAILED.next,
      sqlState: '23505',
      clickhouseCode: 241,
      problems: ['one', 'two'],
      cause: { message: 'duplicate key value violates unique constraint "event_pkey"', code: '23505' },
    });
  });

  test('omits what it does not have', () => {
    const [line] = logged((log) => log.error({ err: new OutboxError('OUTBOX_PROTOCOL') }, 'x'));
    expect(Object.keys(line!['err']!)).toEqual(['code', 'message', 'next']);
  });

  test('shows three causes at most, also of a cycle', () => {
    const inner = new Error('third', { cause: new Error('fourth') });
    const error = new OutboxError('OUTBOX_PROTOCOL', {
      cause: new Error('first', { cause: new Error('second', { cause: inner }) }),
    });
    const [line] = logged((log) => log.error({ err: error }, 'x'));
    expect(line!['err']).toMatchObject({
      cause: { message: 'first', cause: { message: 'second', cause: { message: 'third' } } },
    });
    expect(JSON.stringify(line)).not.toContain('fourth');

    const cycle = new Error('round');
    cycle.cause = cycle;
    expect(logged((log) => log.error({ err: cycle }, 'x'))).toHaveLength(1);
  });
});

describe('An unexpected error in the log', () => {
  test('shows its type, message and frames', () => {
    const [line] = logged((log) => log.error({ err: new TypeError('x is not a function') }, 'bug'));
    expect(line!['err']).toMatchObject({ type: 'TypeError', message: 'x is not a function' });
    expect(JSON.stringify(line)).toContain('log.test.ts');
  });

  test('shows each refused connection of an AggregateError', () => {
    const refused = new AggregateError([
      new Error('connect ECONNREFUSED ::1:5432'),
      new Error('connect ECONNREFUSED 127.0.0.1:5432'),
    ]);
    const error = new OutboxError('OUTBOX_PG_UNREACHABLE', { cause: Object.assign(refused, { code: 'ECONNREFUSED' }) });
    const [line] = logged((log) => log.error({ err: error }, 'x'));
    expect(line!['err']).toMatchObject({
      cause: { message: 'connect ECONNREFUSED ::1:5432; connect ECONNREFUSED 127.0.0.1:5432', code: 'ECONNREFUSED' },
    });
  });
});

// invariant 10: no payload, parameter or password in a log
describe('createLogger never writes the canary, given', () => {
  const carriers: [string, (log: Logger) => void][] = [
    ['as err', (log) => log.error({ err: pgLikeError() }, 'x')],
    ['as the first argument', (log) => log.error(pgLikeError())],
    ['under another key', (log) => log.error({ reason: pgLikeError() }, 'x')],
    ['in a child’s bindings', (log) => log.child({ err: pgLikeError() }).error('x')],
    ['as a cause', (log) => log.error(new OutboxError('OUTBOX_EMIT_FAILED', { cause: pgLikeError() }))],
    [
      'as a cause of a cause',
      (log) => log.error({ err: new Error('a', { cause: new Error('b', { cause: pgLikeError() }) }) }),
    ],
    ['as a string that was thrown', (log) => log.error({ err: CANARY }, 'x')],
    ['as an object that was thrown', (log) => log.error({ err: { message: CANARY, detail: CANARY } }, 'x')],
    ['as a cause that is a string', (log) => log.error({ err: new Error('a', { cause: CANARY }) }, 'x')],
    ['in a URL of the first argument', (log) => log.error(new Error(`no route to postgres://u:${CANARY}@h/db`))],
    ['in a URL of a field', (log) => log.info({ url: `https://u:${CANARY}@h/db` }, `to https://u:${CANARY}@h`)],
    ['in a URL of a message', (log) => log.error({ err: new Error(`no route to postgres://u:${CANARY}@h/db`) }, 'x')],
    [
      'in an enumerable property of an OutboxError',
      (log) => log.error({ err: Object.assign(new OutboxError('OUTBOX_PROTOCOL'), { row: CANARY }) }, 'x'),
    ],
  ];

  test.each(carriers)('%s', (_, write) => {
    const lines = logged(write);
    expect(lines).toHaveLength(1);
    expect(JSON.stringify(lines)).not.toContain(CANARY);
  });
});
