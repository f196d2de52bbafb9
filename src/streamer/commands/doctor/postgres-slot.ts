import { OutboxError } from '../../../errors.ts';
import { formatLsn, parseLsn } from '../../../lsn.ts';
import { checkPublication } from '../../source/publication.ts';
import { checkSlot, slotMissing } from '../../source/slot.ts';
import { isBehind, SHORT_MINUTES } from '../../source/slot-watch.ts';
import { holderOf, walRate } from '../../ledger/holder.ts';
import { bad, command, findingOf, ok, setting, sql } from './finding.ts';
import type { Finding } from './finding.ts';
import type { Postgres, PostgresCheck } from './postgres.ts';

const SILENT_S = 10;
const MIB = 1024 * 1024;

/** What the slot and its ledger row must be like. Only where the tables are there. */
export const SLOT_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.ledger', look: ledger },
  { id: 'postgres.slot', look: slot },
  { id: 'postgres.streamer', look: streamer },
  { id: 'postgres.quarantine', look: quarantine },
];

interface Row {
  same_system: boolean;
  publication: string | null;
  acked: string | null;
  repairing: boolean;
  reading_back: boolean;
}

async function ledger({ db, config }: Postgres): Promise<Finding[]> {
  const id = 'postgres.ledger';
  const { rows } = await db.query<Row>(
    `SELECT system_id = (SELECT system_identifier FROM pg_control_system())::text AS same_system, publication,
            acked_lsn AS acked, repair_began_at IS NOT NULL AS repairing, read_back_below IS NOT NULL AS reading_back
       FROM outbox.stream WHERE slot_name = $1`,
    [config.slot],
  );
  const [row] = rows;
  if (row === undefined) {
    const why = 'Nothing is delivered under this OUTBOX_SLOT. `migrate` makes row and slot.';
    return [bad('error', id, `no row for the slot "${config.slot}"`, why, command('migrate'))];
  }
  if (!row.same_system) return [findingOf(id, new OutboxError('OUTBOX_SYSTEM_CHANGED'))];
  if (row.repairing) return [findingOf(id, new OutboxError('OUTBOX_REPAIR_UNFINISHED'), command('repair'))];
  const found: Finding[] = [ok(id, row.reading_back ? 'reads back what was written before a failover' : 'whole')];
  // a publication that is missing has a finding of its own
  const publication = await checkPublication(db).catch(() => undefined);
  if (publication !== undefined && row.publication !== null && row.publication !== publication.identity)
    found.push(findingOf('postgres.publication', new OutboxError('OUTBOX_PUBLICATION_CHANGED'), command('repair')));
  const held = await checkSlot(db, config.slot).catch(() => undefined);
  if (held !== undefined && row.acked !== null && held.confirmedLsn > parseLsn(row.acked)) {
    const detail = `the slot is confirmed up to ${formatLsn(held.confirmedLsn)}, the ledger up to ${row.acked}`;
    found.push(findingOf('postgres.slot', new OutboxError('OUTBOX_SLOT_CHANGED', { detail }), command('repair')));
  }
  return found;
}

async function slot({ db, config }: Postgres): Promise<Finding[]> {
  const id = 'postgres.slot';
  let found;
  try {
    found = await checkSlot(db, config.slot);
  } catch (error) {
    return [findingOf(id, error, command('repair'))];
  }
  if (found === undefined) {
    const { rows } = await db.query('SELECT FROM outbox.stream WHERE slot_name = $1', [config.slot]);
    // without a row it never was there, and `migrate` makes both
    return rows.length === 0 ? [] : [findingOf(id, slotMissing(config.slot), command('repair'))];
  }
  const { walStatus, safeWalBytes, retainedBytes } = found;
  const kept = `keeps ${Math.ceil(retainedBytes / MIB)} MB of WAL`;
  if (safeWalBytes === undefined) return [ok(id, `${walStatus}, ${kept}`)];
  const bytesPerMinute = 60 * (await walRate(db));
  const minutes = bytesPerMinute > 0 ? Math.max(0, safeWalBytes) / bytesPerMinute : Infinity;
  const left = `${Math.max(0, Math.floor(safeWalBytes / MIB))} MB may still be written`;
  const text = `${walStatus}, ${kept}, ${left}`;
  if (walStatus !== 'unreserved' && !(isBehind(found) && minutes < SHORT_MINUTES)) return [ok(id, text)];
  const limit = Math.ceil(((safeWalBytes + retainedBytes) * 2) / MIB);
  const { next } = new OutboxError('OUTBOX_SLOT_ENDANGERED');
  const raised = setting('max_slot_wal_keep_size', `${limit}MB`);
  return [bad('error', id, `OUTBOX_SLOT_ENDANGERED: ${text}`, next, ...raised)];
}

async function streamer({ db, config }: Postgres): Promise<Finding[]> {
  const id = 'postgres.streamer';
  const holder = await holderOf(db, config.slot);
  const start = command('run');
  if (holder === undefined || holder.walsender === undefined) {
    const isNew = holder === undefined || holder.epoch === 0;
    const why = isNew ? 'It was never started.' : 'Nothing is delivered; events wait in Postgres.';
    return [bad(isNew ? 'warning' : 'error', id, 'no streamer holds the slot', why, start)];
  }
  const { walsender, isStreamer, backend, silentSeconds, standbys } = holder;
  if (!isStreamer) {
    const why = 'What it reads and confirms is not delivered: find out what it is, end it, then repair.';
    const end = sql(`SELECT pg_terminate_backend(${walsender})`);
    return [bad('error', id, `the slot is held by something else (backend ${walsender})`, why, end, command('repair'))];
  }
  const isGone = backend === undefined;
  if (isGone || (silentSeconds ?? 0) > SILENT_S) {
    const found = isGone ? 'the holder has lost its ledger connection' : `no sign of life for ${silentSeconds} s`;
    const why = 'It is frozen or cut off, and holds the slot. Ending its backend lets a standby, or itself, go on.';
    return [bad('error', id, found, why, sql(`SELECT pg_terminate_backend(${walsender})`))];
  }
  return [ok(id, `attached (walsender ${walsender}), ${standbys} standing by`)];
}

async function quarantine({ db, config }: Postgres): Promise<Finding[]> {
  const id = 'postgres.quarantine';
  const { rows } = await db.query<{ rows: number }>(
    'SELECT count(*)::int AS rows FROM outbox.quarantine WHERE slot_name = $1 AND discarded_at IS NULL',
    [config.slot],
  );
  const count = rows[0]!.rows;
  if (count === 0) return [ok(id, 'empty')];
  const level = count >= config.quarantineMaxRows ? 'error' : 'warning';
  const why = 'ClickHouse refuses them, so they are in no query. Mend the cause, then retry them.';
  return [bad(level, id, `${count} events`, why, command('quarantine list'), command('quarantine retry --all'))];
}
