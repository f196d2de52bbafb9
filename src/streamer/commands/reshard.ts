import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { oneLine } from '../../one-line.ts';
import { parseDuration } from '../compare/window.ts';
import { readConfig } from '../config.ts';
import { endForNow, forget, goOn, handOver } from '../ledger/hand-over.ts';
import { examine } from '../ledger/gap.ts';
import { holderOf } from '../ledger/holder.ts';
import { refuseOthersSlot } from '../ledger/other-outboxes.ts';
import { overviewOf } from '../ledger/overview.ts';
import { countQuarantined } from '../ledger/quarantine.ts';
import { noLedger } from '../ledger/row.ts';
import { missingShares, sharesOf, type ShareRow } from '../ledger/shares.ts';
import { MAX_SHARES, MAX_SLOT_LENGTH, outboxOf, publicationOf, shareOf, slotsOf } from '../share.ts';
import { lock, MIGRATION_LOCK } from '../source/advisory-lock.ts';
import type { DatabaseAccess } from '../source/access.ts';
import { Database } from '../source/database.ts';
import { adoptSlot, createSlot, createSlotAndSnapshot, snapshotText, untilMade } from '../source/new-slot.ts';
import { checkOwners } from '../source/owners.ts';
import { checkPublication } from '../source/publication.ts';
import { checkFailover, checkMigrated } from '../source/server.ts';
import { checkSlot, dropSlot } from '../source/slot.ts';
import { restorePublication } from './migrate-postgres.ts';
import type { Report } from './migrate-clickhouse.ts';
import { say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const LOCK_WAIT_MS = 10 * 60_000;
/** The former streamers deliver nothing new while transactions that are open are waited for. */
const PAUSE_MS = 30_000;
const POLL_MS = 200;

const HELP = `Usage: pg-outbox-clickhouse reshard <n> [--wait <time>] [--json]

Has the outbox of OUTBOX_SLOT delivered in n shares from now on; 1 is all of it
by one slot. Applications go on writing, and streamers go on running. Each event
is delivered once: a former share delivers what was committed before a position
in WAL, a new one delivers the rest.

It makes publications and slots, hands over, waits until the former shares are
delivered up to there, and drops their slots. Then, or as soon as it says that
it has handed over, start a streamer for each new share with OUTBOX_SHARD. If it
is interrupted, run it again.

Options
  --wait <time>  how long the former shares may take to deliver (10m)
  --json         one JSON document on stdout: { "done": [ … ] }

Exit codes
  0  done
  1  failed, or the former shares are not delivered yet
  2  wrong usage or configuration
`;

/** `pg-outbox-clickhouse reshard`: returns the exit code. Throws OutboxErrors. */
export async function reshardCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: { wait: { type: 'string', default: '10m' }, json: { type: 'boolean', default: false } },
    help: HELP,
    check: ({ positionals, values }) => {
      const count = Number(positionals[0]);
      if (positionals.length !== 1 || !/^\d+$/.test(positionals[0]!) || count < 1 || count > MAX_SHARES)
        return `give the number of shares, 1 to ${MAX_SHARES}`;
      return parseDuration(values.wait) === undefined ? '--wait must be a duration such as 10m' : undefined;
    },
  });
  if (typeof usage === 'number') return usage;
  const config = readConfig(env);
  const { slot, slotFailover } = config;
  const count = Number(usage.positionals[0]);
  if (slotsOf(outboxOf(slot), count).some(({ length }) => length > MAX_SLOT_LENGTH))
    throw new OutboxError('OUTBOX_CONFIG_INVALID', {
      problems: ['OUTBOX_SLOT is too long for the slots of its shares: docs/upgrading.md says how a slot is renamed'],
    });
  const done: string[] = [];
  const report: Report = (line) => {
    done.push(line);
    if (!usage.values.json) say(`${oneLine(line)}\n`);
  };
  await reshard(
    config,
    { outbox: outboxOf(slot), count, isFailover: slotFailover === 'on' },
    parseDuration(usage.values.wait)!,
    report,
  );
  if (usage.values.json) process.stdout.write(`${JSON.stringify({ done }, null, 2)}\n`);
  return 0;
}

interface Wanted {
  /** Its OUTBOX_SLOT. */
  readonly outbox: string;
  readonly count: number;
  readonly isFailover: boolean;
}

/**
 * Changes the number of shares. Idempotent, and safe to be killed at any step. Throws OUTBOX_SHARD_UNFINISHED, OUTBOX_SLOT_*,
 * OUTBOX_PG_* and OUTBOX_PUBLICATION_*.
 */
export async function reshard(
  access: string | DatabaseAccess,
  wanted: Wanted,
  waitMs: number,
  report: Report,
): Promise<void> {
  const parameters = { synchronous_commit: 'on' };
  const db = await Database.connect(access, { queryTimeoutMs: 0, parameters }, () => undefined);
  try {
    await checkMigrated(db);
    await lock(db, MIGRATION_LOCK, LOCK_WAIT_MS, (holder) =>
      report(`waiting for ${holder}, which holds the lock of migrations`),
    );
    await checkOwners(db);
    const rows = await sharesOf(db, wanted.outbox);
    if (rows.length === 0) throw noLedger(db, wanted.outbox);
    const formers = rows.filter(({ count, isReplaced }) => count !== wanted.count && !isReplaced);
    if (formers.length > 0) await change(db, access, wanted, rows, report);
    else {
      // a change that was killed before it handed over, and is given up
      const stopped = rows.filter(({ ends, isReplaced }) => ends !== undefined && !isReplaced);
      if (stopped.length > 0)
        await goOn(
          db,
          stopped.map(({ slot }) => slot),
        );
    }
    await finish(db, wanted, waitMs, report);
  } finally {
    await db.close();
  }
}

/** Makes the new slots and hands over to them. */
async function change(
  db: Database,
  access: string | DatabaseAccess,
  { outbox, count, isFailover }: Wanted,
  rows: readonly ShareRow[],
  report: Report,
): Promise<void> {
  const formers = rows.filter((row) => row.count !== count).map(({ slot }) => slot);
  await refuseUnsound(db, outbox, rows);
  await refuseOthersSlot(db, outbox, false);
  if (isFailover) await checkFailover(db);
  const slots = slotsOf(outbox, count);
  const onWait = (line: string): void => report(`the slot waits for ${line}`);
  const publications = new Map<string, string>();
  for (const slot of slots) {
    const isRestored = await restorePublication(db, slot, report);
    publications.set(slot, (await checkPublication(db, slot)).identity);
    // one that was killed may have made them
    await untilMade(db, slot, onWait);
    if ((await checkSlot(db, slot)) !== undefined) await adoptSlot(db, slot, isRestored);
  }
  const last = slots.at(-1)!;
  try {
    // what takes long comes first: meanwhile the former streamers deliver
    for (const slot of slots) {
      if (slot !== last && (await checkSlot(db, slot)) === undefined)
        await createSlot(access, slot, { failover: isFailover, db, onWait });
    }
    await dropSlot(db, last);
    report(`made the slots of ${slots.length === 1 ? 'the whole outbox' : `${slots.length} shares`}`);
    await endForNow(db, formers);
    const made = await createSlotAndSnapshot(access, last, { failover: isFailover, db, onWait, waitMs: PAUSE_MS });
    try {
      const snapshot = await snapshotText(access, made.snapshot);
      await handOver(db, formers, publications, { lsn: made.consistentLsn, snapshot });
    } finally {
      await made.close();
    }
  } catch (error) {
    // where the connection is lost, the next run goes on from here
    await undo(db, formers, slots).catch(() => undefined);
    throw error;
  }
  report('handed over: streamers of the new shares may run');
}

async function undo(db: Database, formers: readonly string[], slots: readonly string[]): Promise<void> {
  await goOn(db, formers);
  // they would keep WAL for nobody
  for (const slot of slots) if ((await overviewOf(db, slot)) === undefined) await dropSlot(db, slot);
}

/** A gap is repaired first: afterwards it would be in shares that are gone. Throws OUTBOX_SHARD_UNFINISHED. */
async function refuseUnsound(db: Database, outbox: string, rows: readonly ShareRow[]): Promise<void> {
  const problems: string[] = [];
  const live = [...new Set(rows.filter(({ isReplaced }) => !isReplaced).map(({ count }) => count))];
  if (rows.some(({ isReplaced }) => isReplaced))
    problems.push(`the change to ${live.join(' or ')} has not ended: pg-outbox-clickhouse reshard ${live[0]}`);
  else if (live.length > 1)
    problems.push(`two numbers of shares stand side by side in ${db.schema}.stream: remove one`);
  for (const slot of await missingShares(db))
    if (outboxOf(slot) === outbox)
      problems.push(`there is no row for the slot "${slot}": ${withShare(slot)}pg-outbox-clickhouse migrate`);
  for (const { slot } of rows) {
    const { gap } = await examine(db, slot);
    if (gap !== undefined) problems.push(`the slot "${slot}": ${gap}: ${withShare(slot)}pg-outbox-clickhouse repair`);
  }
  if (problems.length > 0)
    throw new OutboxError('OUTBOX_SHARD_UNFINISHED', { detail: 'nothing was changed', problems });
}

/** Waits until the former shares have delivered what is theirs, and removes them. */
async function finish(db: Database, { outbox, count }: Wanted, waitMs: number, report: Report): Promise<void> {
  const former = (await sharesOf(db, outbox)).filter(({ isReplaced }) => isReplaced);
  const end = performance.now() + waitMs;
  let isTold = false;
  for (;;) {
    const problems = await undelivered(db, former);
    if (problems.length === 0) break;
    if (performance.now() > end) throw new OutboxError('OUTBOX_SHARD_UNFINISHED', { problems });
    if (!isTold) report('waiting for the former shares to be delivered up to there');
    isTold = true;
    await sleep(POLL_MS);
  }
  await forget(
    db,
    former.map(({ slot }) => slot),
  );
  await removeLeft(db, outbox, count, report);
  report(`the outbox is delivered in ${count === 1 ? 'one piece' : `${count} shares`}`);
}

/** What the former shares have still to do. */
async function undelivered(db: Database, former: readonly ShareRow[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { slot, ends } of former) {
    const { reached, walsender } = await holderOf(db, slot);
    const quarantined = await countQuarantined(db, slot);
    if (reached < ends!)
      problems.push(
        walsender === undefined
          ? `the slot "${slot}" is not delivered, and no streamer holds it: ${withShare(slot)}pg-outbox-clickhouse run`
          : `the slot "${slot}" is not delivered: ${withShare(slot)}pg-outbox-clickhouse status says why`,
      );
    else if (quarantined > 0)
      problems.push(
        `${quarantined} events of the slot "${slot}" are in quarantine: ${withShare(slot)}pg-outbox-clickhouse quarantine list`,
      );
  }
  return problems;
}

/** Slots of the outbox without a row, which were its shares, and publications that no row needs. */
async function removeLeft(db: Database, outbox: string, count: number, report: Report): Promise<void> {
  const others = Array.from({ length: MAX_SHARES }, (_, index) => index + 1).filter((other) => other !== count);
  const names = others.flatMap((other) => slotsOf(outbox, other));
  const { rows } = await db.query<{ slot: string }>(
    `SELECT slot_name AS slot FROM pg_replication_slots s
      WHERE slot_name = ANY($1) AND database = current_database() AND plugin = 'pgoutput'
        AND NOT EXISTS (SELECT FROM outbox.stream l WHERE l.slot_name = s.slot_name) ORDER BY 1`,
    [names],
  );
  for (const { slot } of rows) {
    await dropSlot(db, slot);
    report(`dropped the slot "${slot}"`);
  }
  const { rows: ledgers } = await db.query<{ slot: string }>('SELECT slot_name AS slot FROM outbox.stream');
  const needed = new Set(ledgers.map(({ slot }) => publicationOf(slot, db.schema)));
  const left = new Set(others.flatMap((other) => slotsOf(db.schema, other)));
  for (const publication of left)
    // the whole outbox's stays, as the migration makes it
    if (publication !== db.schema && !needed.has(publication))
      await db.query(`DROP PUBLICATION IF EXISTS ${publication}`);
}

function withShare(slot: string): string {
  const share = shareOf(slot);
  return share === undefined ? '' : `OUTBOX_SHARD=${share.number}/${share.count} `;
}
