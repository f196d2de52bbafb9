import { type OutboxEvent, rowOf, rowsOf } from './events.ts';
import { emitFailed } from './failure.ts';
import { readSettings } from './settings.ts';
import { insertMany, insertOne, type Statement } from './statement.ts';
import { sending } from './trace.ts';
import { open, type Send, type Transaction } from './transaction.ts';

/**
 * Writes an event in the transaction that makes the change: it reaches ClickHouse if and only if that transaction commits.
 * One INSERT, in a span `send outbox` whose context goes with the event; without an OpenTelemetry SDK, nothing but the INSERT.
 *
 * The event is read and checked before the call returns its promise, so it may be changed afterwards. Await the promise
 * before COMMIT.
 *
 * @returns the event's id
 * @throws OutboxError OUTBOX_NO_TRANSACTION, OUTBOX_EVENT_INVALID and OUTBOX_CONFIG_INVALID (OUTBOX_MAX_EVENT_BYTES)
 *   before any SQL, so the transaction can go on; OUTBOX_EMIT_FAILED, with `sqlState`, when Postgres refused the INSERT or
 *   the connection failed: the transaction must be rolled back. None of them holds anything of the event's context.
 */
export async function emitEvent(tx: Transaction, event: OutboxEvent): Promise<string> {
  const send = open(tx);
  const row = rowOf(event, readSettings());
  await sending(1, async (sender) => insert(send, insertOne(row, sender)));
  return row.id;
}

/**
 * Writes many events, in their order, as `emitEvent` does. All are checked before any is sent; none is sent when one is at
 * fault. One INSERT for each 64 MiB, which is one for almost any call; no INSERT for no events.
 *
 * @returns the events' ids, in the order of `events`
 * @throws OutboxError as `emitEvent`; the problems of all events are named together
 */
export async function emitEvents(tx: Transaction, events: readonly OutboxEvent[]): Promise<string[]> {
  const send = open(tx);
  const rows = rowsOf(events, readSettings());
  if (rows.length === 0) return [];
  await sending(rows.length, async (sender) => {
    for (const statement of insertMany(rows, sender)) await insert(send, statement);
  });
  return rows.map((row) => row.id);
}

async function insert(send: Send, statement: Statement): Promise<void> {
  try {
    await send(statement);
  } catch (error) {
    throw emitFailed(error);
  }
}
