import { OutboxError } from '../../errors.ts';
import { ClickHouse } from '../clickhouse/client.ts';
import { insertingOf } from '../clickhouse/settings.ts';
import { checkTarget } from '../clickhouse/target.ts';
import type { Config } from '../config.ts';
import type { Database } from '../source/database.ts';
import type { Listed } from './quarantine-list.ts';
import { retry } from './quarantine-retry.ts';

/** What became of how many events, by the words of --json. */
export type Outcome = Record<string, number>;

/** Which of these ids no event of the slot has, discarded ones included. */
export async function unknownOf(db: Database, slot: string, ids: readonly string[]): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    'SELECT id::text AS id FROM outbox.quarantine WHERE slot_name = $1 AND id = ANY($2)',
    [slot, ids],
  );
  const there = new Set(rows.map(({ id }) => id));
  return ids.filter((id) => !there.has(BigInt(id).toString()));
}

/** The events of a slot, in their order; discarded ones where `all` is asked for. */
export async function list(db: Database, slot: string, all: boolean): Promise<Listed[]> {
  const { rows } = await db.query<Listed>(
    `SELECT id, lsn, seq, event_id, event_type, reason, quarantined_at, discarded_at
       FROM outbox.quarantine WHERE slot_name = $1 AND ($2 OR discarded_at IS NULL) ORDER BY id`,
    [slot, all],
  );
  return rows;
}

/** Marks events as given up; those that are discarded already are not counted. */
export async function discard(db: Database, slot: string, ids: readonly string[]): Promise<Outcome> {
  const { count } = await db.query(
    'UPDATE outbox.quarantine SET discarded_at = now() WHERE slot_name = $1 AND id = ANY($2) AND discarded_at IS NULL',
    [slot, ids],
  );
  return { discarded: count };
}

/** Inserts events again, each exactly once. @param tell a line for each that was not delivered */
export async function retryAll(
  db: Database,
  config: Config,
  ids: readonly string[],
  tell: (line: string) => void,
): Promise<Outcome> {
  const clickhouse = new ClickHouse(config, config.insertTimeoutMs, insertingOf(config));
  const outcome = { delivered: 0, 'there already': 0, 'views unproven': 0, refused: 0, gone: 0 };
  try {
    const { views } = await checkTarget(clickhouse, config.clickhouseTable);
    for (const id of ids) {
      try {
        const became = await retry(db, clickhouse, config, id, views.length > 0);
        outcome[became]++;
        if (became === 'views unproven') tell(`${id}  ${new OutboxError('OUTBOX_CH_VIEWS_UNPROVEN').message}`);
      } catch (error) {
        // what concerns one event alone; anything else would be the same for the next
        if (!(error instanceof OutboxError) || error.code !== 'OUTBOX_CH_ROW_REFUSED') throw error;
        outcome.refused++;
        tell(`${id}  rejected again: ${error.message}`);
      }
    }
  } finally {
    await clickhouse.close();
  }
  return outcome;
}
