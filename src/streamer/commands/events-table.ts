/** ClickHouse's table as the migration makes it, in parts: for tables that somebody else has made. */
import { readFile } from 'node:fs/promises';
import type { ClickHouse } from '../clickhouse/client.ts';
import { literal } from '../clickhouse/literal.ts';
import { MIGRATIONS } from '../source/event-table.ts';

const EVENTS = new URL('clickhouse/0000_events.sql', MIGRATIONS);

/** How JSON is stored. A server that is too old to know the setting needs none. */
export const STORAGE = 'object_shared_data_serialization_version';

/** In Wide parts, JSON has files for each path, also of objects in arrays: more than a server may open. */
export const COMPACT = 'min_bytes_for_wide_part = 1000000000000000';

/** What each column that the streamer sends is for. */
export const PURPOSES: Readonly<Record<string, string>> = {
  event_type: 'which event it is',
  event_date_time: 'when it happened',
  environment: 'where it happened',
  event_context_text: 'the event’s exact text',
  metadata_version: 'how to read the context',
  subject: 'who or what it is about',
  event_id: 'looking up what is there after a crash, and verify',
  source: 'telling databases apart, looking up what is there, and verify',
  lsn: 'the order of commits, and looking up what is there',
  seq: 'the order within a transaction, and looking up what is there',
  committed_at: 'the time of the commit, and the partition',
  delivered_at: 'how late events arrive',
  trace_id: 'the way from an event to its trace',
  span_id: 'the way from an event to its span',
  recorded_at: 'when Postgres took it',
  recorded_by: 'who wrote it',
  origin: 'which rows came by repair or from quarantine',
};

/** The statement that makes it; its parameter is `table`. */
export async function createTable(): Promise<string> {
  return readFile(EVENTS, 'utf8');
}

/** The statement that makes the table of its manifests; its parameter is `table`. */
export async function createManifests(): Promise<string> {
  return readFile(new URL('clickhouse/0001_manifests.sql', MIGRATIONS), 'utf8');
}

export async function knowsStorage(clickhouse: ClickHouse): Promise<boolean> {
  const known = await clickhouse.select('SELECT name FROM system.merge_tree_settings WHERE name = {name:String}', {
    name: STORAGE,
  });
  return known.length > 0;
}

/** A column, or an index, behind ADD. */
export async function definitionOf(name: string): Promise<string> {
  // it ends where the next line that is indented as much, or the list, begins
  const [, lines = name] = new RegExp(`^    (${name} [^]*?),?\\n(?:    \\S|\\))`, 'm').exec(await createTable()) ?? [];
  return lines.replaceAll(/\s+/g, ' ');
}

/** The skip indexes, by name, each behind ADD. */
export async function indexes(): Promise<ReadonlyMap<string, string>> {
  const found = [...(await createTable()).matchAll(/^ {4}(INDEX (\w+) .*?),?$/gm)];
  return new Map(found.map(([, definition, name]) => [name!, definition!]));
}

/** What makes a context of a type out of event_context_text. */
export async function typedContext(type: string): Promise<string> {
  if (/String\b/.test(type)) return 'event_context_text';
  const [, own = '', , expression = ''] = /^event_context (JSON(\([^)]*\))?) DEFAULT (.*) CODEC\(/.exec(
    await definitionOf('event_context'),
  )!;
  return expression.replace(literal(own), () => literal(type));
}
