import { OutboxError } from '../../../errors.ts';
import { formatLsn } from '../../../lsn.ts';
import { checkPublication } from '../../source/publication.ts';
import { oldestTransaction, unseenTransactions } from '../../source/oldest-transaction.ts';
import { checkSlot, slotForeign, slotMissing } from '../../source/slot.ts';
import { examine } from '../../ledger/gap.ts';
import { holderOf } from '../../ledger/holder.ts';
import { overviewOf, refusalOf } from '../../ledger/overview.ts';
import { missingShares, refuseOtherShares, sharesOf } from '../../ledger/shares.ts';
import { publicationFault } from '../../ledger/unreadable.ts';
import { SILENT_AFTER_MS } from '../../observe/silence.ts';
import { outboxOf, shareOf } from '../../share.ts';
import { SlotWatch } from '../../source/slot-watch.ts';
import { bad, command, findingOf, INSERTS, ok, sql, type Finding } from './finding.ts';
import { setting } from './managed.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

const MIB = 1024 * 1024;
/** Nobody who means to wait leaves a transaction open for longer. */
const LONG_TRANSACTION_S = 3600;

/** What the slot and its ledger row must be like. Only where the tables are there. */
export const SLOT_CHECKS: readonly PostgresCheck[] = [
  { id: 'postgres.ledger', examine: ledger },
  { id: 'postgres.slot', examine: slot },
  { id: 'postgres.streamer', examine: streamer },
  { id: 'postgres.quarantine', examine: quarantine },
  { id: 'postgres.slots', examine: twins },
  { id: 'postgres.shares', examine: shares },
  { id: 'postgres.transactions', examine: transactions },
];

/** Together they deliver each event once: the hash of an id is in one share, as far as there is a slot for each and its filter is right. */
async function shares({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.shares';
  const found: Finding[] = [];
  try {
    await refuseOtherShares(db, config.slot);
  } catch (error) {
    found.push(findingOf(id, error));
  }
  const rows = await sharesOf(db, config.slot);
  if (rows.every(({ count, ends }) => count === 1 && ends === undefined))
    return found.length > 0 ? found : [ok(id, 'all events have one slot')];
  const ending = rows.filter(({ ends }) => ends !== undefined);
  if (ending.length > 0) {
    const names = ending.map((row) => row.slot).join(', ');
    const why =
      'Until they have delivered what was committed before, retention removes nothing, and their WAL is kept.';
    const next = rows.find(({ ends }) => ends === undefined)?.count;
    found.push(
      bad('warning', id, `${names}: other shares take over`, why, ...(next ? [command(`reshard ${next}`)] : [])),
    );
  }
  const outbox = outboxOf(config.slot);
  const missing = (await missingShares(db)).filter((name) => outboxOf(name) === outbox);
  if (missing.length > 0)
    found.push(
      bad(
        'error',
        id,
        `no row for ${missing.join(', ')}`,
        'Events of these shares are in no stream.',
        command('migrate'),
      ),
    );
  for (const { slot: name } of rows.filter((row) => row.slot !== config.slot)) {
    const gap = await examine(db, name).then(
      (examined) => examined.gap,
      (error: unknown) => (error instanceof OutboxError ? error.message : String(error)),
    );
    if (gap === undefined) continue;
    const why = `Its events are not delivered. \`doctor\` with OUTBOX_SHARD of that share says more.`;
    found.push(bad('error', id, `the slot "${name}": ${gap}`, why));
  }
  return found.length > 0 ? found : [ok(id, `each event is in one of ${rows.length} shares, and each has its slot`)];
}

/** Each slot delivers all events, under a source of its own; those of shares deliver different ones. */
async function twins({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.slots';
  const { rows } = await db.query<{ slot: string }>(
    `SELECT other.slot_name AS slot FROM outbox.stream mine JOIN outbox.stream other USING (target)
       JOIN pg_replication_slots s ON s.slot_name = other.slot_name
      WHERE mine.slot_name = $1 AND other.slot_name <> $1 ORDER BY 1`,
    [config.slot],
  );
  const isOther = ({ slot: name }: { slot: string }): boolean =>
    shareOf(name) === undefined || outboxOf(name) !== outboxOf(config.slot);
  const others = rows.filter(isOther);
  // a row of this slot, or of a share beside it, has a finding of its own
  const { rows: slotless } = await db.query<{ slot: string; row: string }>(
    `SELECT slot_name AS slot, quote_literal(slot_name) AS row FROM outbox.stream l
      WHERE slot_name <> $1 AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = l.slot_name) ORDER BY 1`,
    [config.slot],
  );
  const left = slotless.filter(isOther).map(({ slot: name, row }) => {
    const held =
      'Retention removes nothing while outbox.stream has its row. If it is given up, delete the row; otherwise run `repair` with its OUTBOX_SLOT.';
    return bad(
      'warning',
      id,
      `the slot "${name}" does not exist`,
      held,
      sql(`DELETE FROM outbox.stream WHERE slot_name = ${row}`),
    );
  });
  if (left.length > 0) return left;
  if (others.length === 0) return [ok(id, 'no other slot delivers into the same table')];
  const why =
    'Every event is in the table once for each slot. Drop the one that is not meant; docs/upgrading.md says how a slot is renamed.';
  return [bad('warning', id, `${others.map(({ slot: name }) => name).join(', ')} delivers into the same table`, why)];
}

async function transactions({ db }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.transactions';
  const oldest = await oldestTransaction(db);
  if (oldest === undefined) {
    const unseen = await unseenTransactions(db);
    const others = unseen === 0 ? '' : `, as far as this role may see: ${unseen} of other roles may`;
    return [ok(id, `none has written and is open${others}`)];
  }
  const found = `the oldest that has written is open for ${Math.round(oldest.seconds)} s: ${oldest.what}`;
  if (oldest.seconds < LONG_TRANSACTION_S) return [ok(id, found)];
  const why = 'The slot keeps all WAL since it began, and a new slot waits until it ends.';
  return [bad('warning', id, found, why, sql(oldest.end))];
}

async function ledger({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.ledger';
  const row = await overviewOf(db, config.slot);
  if (row === undefined) {
    const why = 'Nothing is delivered under this OUTBOX_SLOT. `migrate` makes row and slot.';
    return [bad('error', id, `no row for the slot "${config.slot}"`, why, command('migrate'))];
  }
  if (row.isDetached) return [findingOf(id, new OutboxError('OUTBOX_DETACHED'), command('repair'))];
  if (!row.isOfThisSystem) return [findingOf(id, new OutboxError('OUTBOX_SYSTEM_CHANGED'))];
  if (row.isRepairing) return [findingOf(id, new OutboxError('OUTBOX_REPAIR_UNFINISHED'), command('repair'))];
  const found: Finding[] = [ok(id, row.isReadingBack ? 'reads back what was written before a failover' : 'whole')];
  const refusal = refusalOf(row);
  if (refusal !== undefined) found.push(findingOf(INSERTS, refusal));
  // a publication that is missing has a finding of its own
  const publication = await checkPublication(db, config.slot).catch(() => undefined);
  const fault =
    publication === undefined || row.publication === undefined
      ? undefined
      : publicationFault(row.publication, publication.identity);
  if (fault !== undefined) found.push(findingOf('postgres.publication', fault, command('repair')));
  const held = await checkSlot(db, config.slot).catch(() => undefined);
  if (held !== undefined && row.acked !== undefined && held.confirmedLsn > row.acked) {
    const detail = `the slot is confirmed up to ${formatLsn(held.confirmedLsn)}, the ledger up to ${formatLsn(row.acked)}`;
    found.push(findingOf('postgres.slot', new OutboxError('OUTBOX_SLOT_CHANGED', { detail }), command('repair')));
  }
  return found;
}

async function slot(postgres: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.slot';
  const { db, config } = postgres;
  let found;
  try {
    found = await checkSlot(db, config.slot);
  } catch (error) {
    // one of another database is not to be dropped
    const isOurs = await examine(db, config.slot).then(
      () => true,
      () => false,
    );
    return [isOurs ? findingOf(id, error, command('repair')) : findingOf(id, error)];
  }
  if (found === undefined) {
    const row = await overviewOf(db, config.slot);
    // without a row it never was there, and `migrate` makes both; a stream that is detached has a finding of its own
    return row === undefined || row.isDetached ? [] : [findingOf(id, slotMissing(config.slot), command('repair'))];
  }
  const { walStatus, safeWalBytes, retainedBytes } = found;
  const kept = `keeps ${Math.ceil(retainedBytes / MIB)} MB of WAL`;
  if (safeWalBytes === undefined) return [ok(id, `${walStatus}, ${kept}`)];
  const left = `${Math.max(0, Math.floor(safeWalBytes / MIB))} MB may still be written`;
  const text = `${walStatus}, ${kept}, ${left}`;
  if (!new SlotWatch().observe(found, 0).endangered) return [ok(id, text)];
  const limit = Math.ceil(((safeWalBytes + retainedBytes) * 2) / MIB);
  const { next } = new OutboxError('OUTBOX_SLOT_ENDANGERED');
  const raised = setting(postgres, 'max_slot_wal_keep_size', `${limit}MB`);
  return [bad('error', id, `OUTBOX_SLOT_ENDANGERED: ${text}`, next, ...raised)];
}

async function streamer({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.streamer';
  // the ledger has a finding of its own
  if ((await overviewOf(db, config.slot)) === undefined) return [];
  // a slot that cannot be used has a finding of its own
  const foreign = (await checkSlot(db, config.slot).catch(() => undefined))?.foreignHolder;
  if (foreign !== undefined)
    return [findingOf(id, slotForeign(config.slot, foreign), sql(`SELECT pg_terminate_backend(${foreign.pid})`))];
  const holder = await holderOf(db, config.slot);
  const start = command('run');
  if (holder.walsender === undefined) {
    const isNew = holder.epoch === 0;
    const why = isNew ? 'It was never started.' : 'Nothing is delivered; events wait in Postgres.';
    return [bad(isNew ? 'warning' : 'error', id, 'no streamer holds the slot', why, start)];
  }
  const { walsender, backend, silentSeconds, standbys } = holder;
  const isGone = backend === undefined;
  if (isGone || 1000 * (silentSeconds ?? 0) > SILENT_AFTER_MS) {
    const found = isGone ? 'the holder has lost its ledger connection' : `no sign of life for ${silentSeconds} s`;
    const why = 'It is frozen or cut off, and holds the slot. Ending its backend lets a standby, or itself, go on.';
    return [bad('error', id, found, why, sql(`SELECT pg_terminate_backend(${walsender})`))];
  }
  return [ok(id, `attached (walsender ${walsender}), ${standbys} standing by`)];
}

async function quarantine({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.quarantine';
  const count = (await overviewOf(db, config.slot))?.quarantined ?? 0;
  if (count === 0) return [ok(id, 'empty')];
  const level = count >= config.quarantineMaxRows ? 'error' : 'warning';
  const why = 'ClickHouse refuses them, so they are in no query. Fix the cause, then retry them.';
  return [bad(level, id, `${count} events`, why, command('quarantine list'), command('quarantine retry --all'))];
}
