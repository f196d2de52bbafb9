import { discard, list, retryAll, unknownOf } from '../quarantine-events.ts';
import type { Listed } from '../quarantine-list.ts';
import type { Config } from '../../config.ts';
import type { Changed, Quarantine, QuarantinedEvent } from './api.ts';
import { malformed } from './search.ts';
import { changing, type Source } from './source.ts';

const SHOWN = 200;
const SHOWN_CHARACTERS = 200_000;
const MAX_IDS = 10_000;

/** Those that can still be retried, grouped by type and reason, the largest group first. Throws OUTBOX_PG_*. */
export async function quarantineOf(source: Source, slot: string): Promise<Quarantine> {
  const rows = await source.ask(async (db) => list(db, slot, false));
  const groups = Map.groupBy(rows, ({ event_type: type, reason }) => JSON.stringify([type, reason]));
  return {
    total: rows.length,
    groups: [...groups.values()].map(groupOf).toSorted((one, other) => other.count - one.count),
  };
}

function groupOf(rows: readonly Listed[]): Quarantine['groups'][number] {
  return {
    type: rows[0]!.event_type,
    reason: rows[0]!.reason,
    count: rows.length,
    events: rows
      .slice(0, SHOWN)
      .map(({ id, event_id: eventId, quarantined_at: at }) => ({ id, eventId, at: at.toISOString() })),
    ids: rows.slice(0, MAX_IDS).map(({ id }) => id),
  };
}

/** All of outbox.quarantine but the context, in the order in which they are read. */
const COLUMNS = [
  'id',
  'event_id',
  'event_type',
  'event_date_time',
  'environment',
  'subject',
  'metadata_version',
  'reason',
  'clickhouse_code',
  'quarantined_at',
  'retried_at',
  'discarded_at',
  'committed_at',
  'source',
  'lsn',
  'seq',
  'trace_id',
  'span_id',
  'recorded_at',
  'recorded_by',
] as const;

interface Row extends Readonly<Record<(typeof COLUMNS)[number], string | null>> {
  readonly context: string | null;
  readonly bytes: number;
}

/** Undefined where it is not there. Throws OUTBOX_PG_*. */
export async function quarantinedEvent(
  source: Source,
  slot: string,
  id: string,
  payloads: boolean,
): Promise<QuarantinedEvent | undefined> {
  if (!isId(id)) throw malformed('an event of the quarantine is named by its number');
  const [row] = await source.query<Row>(
    `SELECT ${COLUMNS.map((name) => `${name}::text AS ${name}`).join(', ')}, octet_length(event_context) AS bytes,
            CASE WHEN $3 THEN left(event_context, ${SHOWN_CHARACTERS}) END AS context
       FROM outbox.quarantine WHERE slot_name = $1 AND id = $2`,
    [slot, id, payloads],
  );
  if (row === undefined) return undefined;
  const columns = Object.fromEntries(COLUMNS.map((name) => [name, row[name] ?? '']));
  return { columns, text: row.context, bytes: row.bytes };
}

/** The ids of a request. Throws a Refusal for what are none. */
export function idsOf(body: unknown): string[] {
  const ids: unknown = typeof body === 'object' && body !== null && 'ids' in body ? body.ids : undefined;
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > MAX_IDS || !ids.every(isId))
    throw malformed(`ids is a list of 1 to ${MAX_IDS} numbers of the quarantine`);
  return ids as string[];
}

function isId(id: unknown): boolean {
  return typeof id === 'string' && /^\d{1,18}$/.test(id);
}

/** As the command does it. Throws OUTBOX_PG_*, OUTBOX_CH_* and a Refusal for ids that the slot does not have. */
export async function change(config: Config, action: 'retry' | 'discard', ids: readonly string[]): Promise<Changed> {
  return changing(config, async (db) => {
    const unknown = await unknownOf(db, config.slot, ids);
    if (unknown.length > 0) throw malformed(`no event of the slot has the number ${unknown.slice(0, 10).join(', ')}`);
    const lines: string[] = [];
    const outcome =
      action === 'retry'
        ? await retryAll(db, config, ids, (line) => void lines.push(line))
        : await discard(db, config.slot, ids);
    return { outcome, lines };
  });
}
