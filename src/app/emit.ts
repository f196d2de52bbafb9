import { type AnyEvent, type Policy, rowOf, rowsOf } from './events.ts';
import { emitDropped, emitFailed } from './failure.ts';
import { readSettings, type Settings } from './settings.ts';
import { insertMany, insertOne, type Statement } from './statement.ts';
import { sending } from './trace.ts';
import { open, type Transaction } from './transaction.ts';
import type { Send } from './transactions/client.ts';

/** Gives what holds for the events of one call. It runs once a call, after the transaction is known to be open. */
export type Rules = (settings: Settings) => { readonly settings: Settings; readonly policy: Policy };

const PLAIN: Rules = (settings) => ({ settings, policy: {} });

/**
 * Writes an event in the transaction that makes the change: it reaches ClickHouse if and only if that transaction commits.
 * One INSERT, in a span `send outbox` whose context goes with the event; without an OpenTelemetry SDK, nothing but the INSERT.
 *
 * The event is read and checked before the call returns its promise, so you may change it afterwards.
 *
 * Await the promise before COMMIT or ROLLBACK, and before you release the client. Some clients send the INSERT a moment
 * later. When the transaction has ended by then, the call rejects if the client can tell. If it cannot, Postgres commits the
 * event by itself, or with the next transaction of that client.
 *
 * @param event made by a definition (`defineEvent`), or written by hand
 * @returns the event's id
 * @throws OutboxError OUTBOX_NO_TRANSACTION, OUTBOX_EVENT_INVALID and OUTBOX_CONFIG_INVALID (OUTBOX_MAX_EVENT_BYTES, OUTBOX_SCHEMA)
 *   before any SQL, so the transaction can go on; OUTBOX_EMIT_FAILED, with `sqlState`, when Postgres rejected the INSERT or
 *   the connection failed, or without it when a trigger or rule dropped the row: roll the transaction back. None of them holds a value of the event's context; they can hold its
 *   keys, and names of classes.
 */
export async function emitEvent(tx: Transaction, event: AnyEvent): Promise<string> {
  return emitOne(tx, event, PLAIN);
}

/**
 * Writes many events, in their order, as `emitEvent` does: by one INSERT, or by none when there are no events. It checks all
 * events before it sends any. When one is invalid, it sends none.
 *
 * One call takes 64 MiB at most. More would need a second INSERT, and nobody could tell whether that one still runs in the
 * same transaction.
 *
 * @returns the events' ids, in the order of `events`
 * @throws OutboxError as `emitEvent`; the problems of all events are named together. More than 64 MiB: OUTBOX_EVENT_INVALID
 */
export async function emitEvents(tx: Transaction, events: readonly AnyEvent[]): Promise<string[]> {
  return emitMany(tx, events, PLAIN);
}

export async function emitOne(tx: Transaction, event: AnyEvent, rules: Rules): Promise<string> {
  const send = open(tx);
  const { settings, policy } = rules(readSettings());
  const row = rowOf(event, settings, policy);
  const { schema } = settings;
  await sending(1, async (sender) => insert(send, insertOne(row, sender, schema), { events: 1, schema }));
  return row.id;
}

export async function emitMany(tx: Transaction, events: readonly AnyEvent[], rules: Rules): Promise<string[]> {
  const send = open(tx);
  const { settings, policy } = rules(readSettings());
  const rows = rowsOf(events, settings, policy);
  if (rows.length === 0) return [];
  const { schema } = settings;
  const expected = { events: rows.length, schema };
  await sending(rows.length, async (sender) => insert(send, insertMany(rows, sender, schema), expected));
  return rows.map((row) => row.id);
}

interface Expected {
  readonly events: number;
  readonly schema: string;
}

async function insert(send: Send, statement: Statement, { events, schema }: Expected): Promise<void> {
  let stored: number | undefined;
  try {
    stored = await send(statement);
  } catch (error) {
    throw emitFailed(error, schema);
  }
  if (stored !== undefined && stored < events) throw emitDropped(events - stored, schema);
}
