import { ERRORS } from '../errors.ts';

const AGAIN = 'Roll back, and run the whole transaction again';

/**
 * The next step for a SQLSTATE with which Postgres answers the INSERT of events, and for one of a class (its first two
 * characters). https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const STEPS: Readonly<Record<string, string>> = {
  '42P01':
    'Run `pg-outbox-clickhouse migrate` on this database: it has no table outbox.event. If it ran already, your application is connected to another database.',
  '3F000': 'Run `pg-outbox-clickhouse migrate` on this database: it has no schema outbox.',
  '42703':
    'Run `pg-outbox-clickhouse migrate` of the version that you emit with: outbox.event lacks a column that it writes.',
  '42501':
    'Grant your application its role, as a superuser: `GRANT outbox_producer TO <the role that it logs in as>`. migrations/postgres/roles.sql of the streamer makes outbox_producer.',
  '40001': `${AGAIN}: another transaction changed what it has read. Up to then this is not an error of your application.`,
  '40P01': `${AGAIN}: it and another one waited for each other.`,
  '25P02':
    'Roll back, and find the first error: a statement before this one had failed, and Postgres ignores everything after that.',
  '25006':
    'Emit in a transaction that may write: this one is READ ONLY, or your application is connected to a standby of Postgres.',
  '55P03': `${AGAIN}. Something holds a lock on outbox.event for longer than your lock_timeout: pg_locks says what.`,
  '57014': `${AGAIN}. If nobody cancelled it, your statement_timeout is too short for this INSERT, or it waited for a lock: pg_locks says for which.`,
  '08': `${AGAIN}, on another connection: this one is lost.`,
  '22': 'Look for a constraint, a trigger or an index of your own on outbox.event: it cannot work with this event.',
  '23': 'Look at the constraint that `cause` names: if it is your own, it refuses this event.',
  '53': 'Give Postgres what it ran out of, as the message says (disk, memory, connections), then run the whole transaction again.',
  '57': `${AGAIN}, on another connection: Postgres is shutting down, or an administrator ended this one.`,
  P0: 'Look at the triggers of outbox.event: one of your own refuses this event.',
};

/** What to do when Postgres answered with this SQLSTATE, or not at all. */
export function nextStep(sqlState: string | undefined): string {
  if (sqlState === undefined) return `${AGAIN}, on another connection: without an answer, nothing of it was committed.`;
  return STEPS[sqlState] ?? STEPS[sqlState.slice(0, 2)] ?? ERRORS.OUTBOX_EMIT_FAILED.next;
}
