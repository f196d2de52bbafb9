import { type AnyEvent, type Policy, rowOf, rowsOf } from './events.ts';
import { emitFailed } from './failure.ts';
import { readSettings, type Settings } from './settings.ts';
import { insertMany, insertOne, type Statement } from './statement.ts';
import { sending } from './trace.ts';
import { open, type Transaction } from './transaction.ts';
import type { Send } from './transactions/client.ts';

/** What holds for the events of one call. Asked for at each call, when the transaction is known to be open. */
export type Rules = (settings: Settings) => { readonly settings: Settings; readonly policy: Policy };

const PLAIN: Rules = (settings) => ({ settings, policy: {} });

/**
 * Writes an event in the transaction that makes the change: it reaches ClickHouse if and only if that transaction commits.
 * One INSERT, in a span `send outbox` whose context goes with the event; without an OpenTelemetry SDK, nothing but the INSERT.
 *
 * The event is read before the call returns its promise, so it may be changed afterwards. It is checked by then as well,
 * unless its definition's validator is asynchronous: then the INSERT is sent when the validator has answered.
 *
 * Await the promise before COMMIT or ROLLBACK, and before the client is given back. Where the transaction has ended by the time
 * of the INSERT, the call rejects if the client can tell; otherwise the event is committed by itself, or with whatever
 * transaction the client has begun since.
 *
 * @param event made by a definition (`defineEvent`), or written by hand
 * @returns the event's id
 * @throws OutboxError OUTBOX_NO_TRANSACTION, OUTBOX_EVENT_INVALID and OUTBOX_CONFIG_INVALID (OUTBOX_MAX_EVENT_BYTES)
 *   before any SQL, so the transaction can go on; OUTBOX_EMIT_FAILED, with `sqlState`, when Postgres refused the INSERT or
 *   the connection failed: the transaction must be rolled back. None of them holds a value of the event's context;
 *   keys and names of classes are told.
 */
export async function emitEvent(tx: Transaction, event: AnyEvent): Promise<string> {
  return emitOne(tx, event, PLAIN);
}

/**
 * Writes many events, in their order, as `emitEvent` does. All are checked before any is sent; none is sent when one is at
 * fault. One INSERT, and none for no events. More than 64 MiB in one call are refused, because what a second INSERT would
 * follow is no longer known to be the same transaction.
 *
 * @returns the events' ids, in the order of `events`
 * @throws OutboxError as `emitEvent`; the problems of all events are named together. More than 64 MiB: OUTBOX_EVENT_INVALID
 */
export async function emitEvents(tx: Transaction, events: readonly AnyEvent[]): Promise<string[]> {
  return emitMany(tx, events, PLAIN);
}

export async function emitOne(tx: Transaction, event: AnyEvent, rules: Rules): Promise<string> {
  let send = open(tx);
  const { settings, policy } = rules(readSettings());
  let row = rowOf(event, settings, policy);
  if (row instanceof Promise) {
    row = await row;
    // it may have ended meanwhile
    send = open(tx);
  }
  const statement = row;
  await sending(1, async (sender) => insert(send, insertOne(statement, sender)));
  return row.id;
}

export async function emitMany(tx: Transaction, events: readonly AnyEvent[], rules: Rules): Promise<string[]> {
  let send = open(tx);
  const { settings, policy } = rules(readSettings());
  let rows = rowsOf(events, settings, policy);
  if (rows instanceof Promise) {
    rows = await rows;
    send = open(tx);
  }
  const checked = rows;
  if (checked.length === 0) return [];
  await sending(checked.length, async (sender) => insert(send, insertMany(checked, sender)));
  return checked.map((row) => row.id);
}

async function insert(send: Send, statement: Statement): Promise<void> {
  try {
    await send(statement);
  } catch (error) {
    throw emitFailed(error);
  }
}
