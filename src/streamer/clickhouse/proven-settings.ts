import { randomUUID } from 'node:crypto';
import { OutboxError } from '../../errors.ts';
import { INSERT_SETTINGS, NEWER_INSERT_SETTINGS, type Settings } from './settings.ts';

/** Asks about the settings of these names, in a request that is sent with `settings`. */
type AskSettings = (
  query: string,
  names: readonly string[],
  settings: Settings,
) => Promise<{ name: string; value: string }[]>;

/**
 * The settings of an insert that the server knows, and `more`, proved to arrive there: a proxy may drop those that it was not told to
 * pass. Throws OUTBOX_CH_SETTINGS_DROPPED with the names of those that do not.
 */
export async function provenSettings(ask: AskSettings, more: Settings | undefined): Promise<Settings> {
  const question = 'SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}';
  const known = await ask(question, Object.keys(NEWER_INSERT_SETTINGS), {});
  const settings: Settings = {
    ...INSERT_SETTINGS,
    ...more,
    ...Object.fromEntries(known.map(({ name }) => [name, NEWER_INSERT_SETTINGS[name]!])),
  };
  const sent: Settings = {
    ...settings,
    insert_deduplication_token: randomUUID(),
  };
  const arrived = await ask(question, Object.keys(sent), sent);
  // `wait_end_of_query` is one of the HTTP interface, and has no value to be asked for
  const problems = arrived.filter(({ name, value }) => value !== String(sent[name])).map(({ name }) => name);
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_CH_SETTINGS_DROPPED', {
      detail: 'settings that are sent with each insert do not reach ClickHouse',
      problems,
    });
  return settings;
}
