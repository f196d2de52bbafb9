import { inspect } from 'node:util';
import type { Pool } from 'pg';

export interface Stored {
  id: string;
  type: string;
  time: Date;
  environment: string;
  context: string;
  version: number;
  subject: string;
}

/** The events in the order of insertion, as long as the transactions did not overlap. */
export async function storedIn(postgres: Pool): Promise<Stored[]> {
  const { rows } = await postgres.query<Stored>(`
    SELECT event_id AS id, event_type AS type, event_date_time AS time, environment, event_context::text AS context,
      metadata_version::float8 AS version, subject
    FROM outbox.event ORDER BY tableoid, ctid`);
  return rows;
}

export async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  const error: unknown = await Promise.resolve(promise).catch((thrown: unknown) => thrown);
  if (!(error instanceof Error)) throw new Error('nothing was thrown');
  return error;
}

/** Everything that a logger could print of an error and its causes. */
export function printed(error: Error): string {
  const parts = [inspect(error, { depth: null, showHidden: true, maxStringLength: null, maxArrayLength: null })];
  for (let next: unknown = error; next instanceof Error; next = next.cause)
    parts.push(next.message, next.stack ?? '', JSON.stringify(next), String(next));
  return parts.join('\n');
}
