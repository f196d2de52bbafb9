import { OutboxError } from '../../errors.ts';
import { deliveredSnapshot, type ComparisonOptions, type Progress } from '../compare/comparison.ts';
import { OutboxSnapshot, SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import { ALL, type Window } from '../compare/window.ts';
import type { Config } from '../config.ts';
import { detachedParts } from '../clickhouse/detached-parts.ts';
import { whereCurrent } from '../clickhouse/current.ts';
import { ClickHouse, LONG_SELECT_MS } from '../clickhouse/client.ts';
import { eventTimeOf } from '../clickhouse/event-time.ts';
import { insertingOf } from '../clickhouse/settings.ts';
import { ReadBack } from '../delivery/read-back.ts';
import { PROOF_MAX_AGE_MS } from '../delivery/retry.ts';
import { INSERT_MARGIN_MS } from '../delivery/retry.ts';
import { checkTarget } from '../clickhouse/target.ts';
import { createLogger } from '../observe/log.ts';
import { Database } from '../source/database.ts';
import { createSlotAndSnapshot, untilMade } from '../source/new-slot.ts';
import { checkFailover, checkMigrated } from '../source/server.ts';
import { dropSlot } from '../source/slot.ts';
import { fill, NEVER, type Filled, type FillOptions } from './fill.ts';
import { examine, type Examined } from '../ledger/gap.ts';
import { overviewOf } from '../ledger/overview.ts';
import { refuseDoubtfulShares, refuseOtherShares, scopeOfSlot } from '../ledger/shares.ts';
import { formerTable } from '../source/publication.ts';
import { beginRepair, endRepair, recordRepair } from '../ledger/lifecycle.ts';

const DELIVERY_WAIT_MS = 60_000;
/** Any number will do, as long as every version of this program takes the same. */
const ADVISORY_LOCK = 0x6f7574726570;

export interface RepairOptions {
  readonly dryRun: boolean;
  readonly newSlot: boolean;
  /** Events are sent, too, that ClickHouse has under another source, or may have in detached parts. */
  readonly sendAgain: boolean;
  /** The ledger was written for another server, from which nobody delivers any more. */
  readonly moved: boolean;
  readonly window: Window;
}

export interface RepairReport extends Omit<Filled, 'missing'> {
  /** Why a new slot was made; null when the stream has no gap. */
  readonly gap: string | null;
  readonly missing: number;
  /** Rows of an insert that was pending when the repair began, and is in the table: views may lack them (OUTBOX_CH_VIEWS_UNPROVEN). */
  readonly viewsUnproven: number;
}

export type RepairProgress =
  | Progress
  | { readonly step: 'waiting for inserts'; readonly atLeastMs: number }
  | { readonly step: 'waiting for transactions'; readonly of: string }
  | { readonly step: 'making the slot' | 'sending what is missing' };

interface Work {
  readonly config: Config;
  readonly sendsAgain: boolean;
  readonly hasViews: boolean;
  readonly examined: Examined;
  readonly ask: Database;
  readonly connect: (isLong: boolean) => Promise<Database>;
  readonly clickhouse: ClickHouse;
  /** The same, with the deadline of an insert. */
  readonly inserting: ClickHouse;
  readonly onProgress: (progress: RepairProgress) => void;
}

/**
 * Delivers what is missing. Throws OUTBOX_REPAIR_BUSY, OUTBOX_REPAIR_OTHER_SOURCE, OUTBOX_CH_PARTS_DETACHED, OUTBOX_PG_*, OUTBOX_SLOT_*, OUTBOX_PUBLICATION_MISSING, OUTBOX_VERIFY_* and
 * OUTBOX_CH_*.
 */
export async function repair(
  config: Config,
  { dryRun: isDry, newSlot, sendAgain: sendsAgain, moved: isMoved, window }: RepairOptions,
  onProgress: (progress: RepairProgress) => void = () => undefined,
): Promise<RepairReport> {
  const opened: Database[] = [];
  const connect = async (isLong: boolean): Promise<Database> => {
    const long = { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS };
    // the streamer's too: a quarantined event, and a repair that has ended, outlive a crash
    const durable = { parameters: { synchronous_commit: 'on' } };
    const db = await Database.connect(config, isLong ? long : durable, () => undefined);
    opened.push(db);
    return db;
  };
  const clickhouse = new ClickHouse(config, LONG_SELECT_MS, insertingOf(config));
  const inserting = new ClickHouse(config, config.insertTimeoutMs, insertingOf(config));
  try {
    const ask = await connect(false);
    await checkMigrated(ask);
    await refuseOtherShares(ask, config.slot);
    await lockRepair(ask, config.slot);
    const { views } = await checkTarget(clickhouse, config.clickhouseTable);
    // what may not be asked refuses now, and not when the stream is taken over
    if (!sendsAgain) await detachedParts(clickhouse, config.clickhouseTable, Date.now());
    const examined = await examine(ask, config.slot, isMoved);
    if (examined.isMoved) await refuseDoubtfulShares(ask, config.slot);
    const work: Work = {
      config,
      hasViews: views.length > 0,
      sendsAgain,
      examined,
      ask,
      connect,
      clickhouse,
      inserting,
      onProgress,
    };
    // another server may have given the OID of the table to any other
    if (!examined.isMoved) await checkTable(ask, config.slot);
    const gap = examined.gap ?? (newSlot ? 'a new slot was asked for' : undefined);
    if (gap === undefined) return await fillBeside(work, window, isDry);
    if (window.from !== undefined || window.to !== undefined)
      throw new OutboxError('OUTBOX_REPAIR_WINDOW', { detail: `${gap}: everything must be compared` });
    return isDry ? await countGap(work, gap) : await fillGap(work, gap);
  } finally {
    await Promise.all([clickhouse.close(), inserting.close(), ...opened.map(async (db) => db.close())]);
  }
}

/** Waits until no insert of that kind can be under way any more. */
async function outlastInserts(
  { config, examined, clickhouse, onProgress }: Work,
  kind: 'repair' | 'any',
  sentLaterMs: number,
): Promise<void> {
  const waitMs = sentLaterMs + config.insertTimeoutMs + INSERT_MARGIN_MS;
  onProgress({ step: 'waiting for inserts', atLeastMs: waitMs });
  const { source } = examined;
  const log = createLogger({ level: 'silent' }, { write: () => undefined });
  const scope = { clickhouse, table: config.clickhouseTable, source, log, signal: NEVER, stop: NEVER };
  const readBack = new ReadBack(scope, kind);
  await readBack.quiet(performance.now() + waitMs, 'it was quiet');
}

/** What another table has under its former name is compared by nobody, and its WAL goes with the slot. */
async function checkTable(db: Database, slot: string): Promise<void> {
  const { publication } = (await overviewOf(db, slot)) ?? {};
  const former = publication === undefined ? undefined : await formerTable(db, publication);
  if (former === undefined) return;
  throw new OutboxError('OUTBOX_PG_TABLE_REPLACED', { detail: `the slot streamed the table that is ${former} now` });
}

/** Until the connection ends, no other repair of the slot begins, nor `detach`. Throws OUTBOX_REPAIR_BUSY. */
export async function lockRepair(db: Database, slot: string): Promise<void> {
  const { rows } = await db.query<{ mine: boolean }>('SELECT pg_try_advisory_lock($1::bigint # hashtext($2)) AS mine', [
    ADVISORY_LOCK,
    slot,
  ]);
  if (rows[0]?.mine !== true) throw new OutboxError('OUTBOX_REPAIR_BUSY');
}

/** What a snapshot shows, and the streamer has delivered, and ClickHouse lacks all the same, the stream will never bring. */
async function fillBeside(work: Work, window: Window, isDry: boolean): Promise<RepairReport> {
  const { connect } = work;
  // a repair that was killed may have an insert under way, of other events than this one will send together; what sends nothing
  // need not care: it counts as missing what that insert brings later
  if (!isDry) await outlastInserts(work, 'repair', 0);
  const comparing = await comparison(work, await connect(true), window, true);
  const { snapshot } = await deliveredSnapshot(comparing);
  return { gap: null, viewsUnproven: 0, ...(await fillUnrecorded(work, { comparing, snapshot, isDry })) };
}

/** What a new slot would find missing, as a snapshot of now shows it: the stream stays as it is. */
async function countGap(work: Work, gap: string): Promise<RepairReport> {
  const first = await work.connect(true);
  const comparing = await ofEverything(work, first);
  const snapshot = await OutboxSnapshot.take(first, comparing);
  return { gap, viewsUnproven: 0, ...(await fillUnrecorded(work, { comparing, snapshot, isDry: true })) };
}

/** The ledger stays as it is. */
async function fillUnrecorded(
  work: Work,
  options: Pick<FillOptions, 'comparing' | 'snapshot' | 'isDry'>,
): Promise<Filled> {
  const { ask, config, sendsAgain, inserting } = work;
  const { lsn } = options.snapshot.horizon;
  const prove = async (): Promise<void> => void (await ask.query('SELECT 1'));
  const onSend = sending(work);
  return fill({ ...options, config, inserting, lsn, timeline: 0, prove, record: undefined, sendsAgain, onSend });
}

/** Takes the stream over, and hands it back behind a new slot's begin. */
async function fillGap(work: Work, gap: string): Promise<RepairReport> {
  const { config, sendsAgain, examined, ask, connect, inserting, onProgress } = work;
  const { slot } = config;
  const isFailover = config.slotFailover === 'on';
  // what refuses comes first: from then on no streamer delivers until a repair has ended
  if (isFailover) await checkFailover(ask);
  const { epoch, pendingAtMs } = await beginRepair(ask, slot);
  await outlastInserts(work, 'any', PROOF_MAX_AGE_MS);
  const viewsUnproven = await unproven(work, pendingAtMs);
  onProgress({ step: 'making the slot' });
  const onWait = (line: string): void => onProgress({ step: 'waiting for transactions', of: line });
  // a repair that was killed leaves the server at making one
  await untilMade(ask, slot, onWait);
  if (examined.slotExists) await dropSlot(ask, slot);
  const made = await createSlotAndSnapshot(config, slot, { failover: isFailover, db: ask, onWait });
  try {
    const first = await connect(true);
    const comparing = await ofEverything(work, first);
    const snapshot = await OutboxSnapshot.import(first, comparing, made.snapshot, made.consistentLsn);
    await made.close();
    const prove = async (): Promise<void> => {
      const { count } = await ask.query('SELECT FROM outbox.stream WHERE slot_name = $1 AND epoch = $2', [slot, epoch]);
      if (count === 0) throw new OutboxError('OUTBOX_EPOCH_LOST');
    };
    const { consistentLsn, systemId, timeline } = made;
    const lsn = consistentLsn;
    const onSend = sending(work);
    const filled = await fill({
      config,
      comparing,
      snapshot,
      inserting,
      lsn,
      timeline,
      prove,
      record: async (pending) => recordRepair(ask, slot, epoch, pending),
      isDry: false,
      sendsAgain,
      onSend,
    });
    const { publication } = examined;
    const { movedAtMs } = comparing;
    await endRepair(ask, slot, { epoch, publication, systemId, timeline, consistentLsn, movedAtMs });
    return { gap, viewsUnproven, ...filled };
  } finally {
    await made.close();
  }
}

/** When the last of the source's events was delivered, in ms since 1970, rounded up. */
async function lastDeliveredMs({ config, examined: { source }, clickhouse }: Work): Promise<number> {
  const current = await whereCurrent(clickhouse, config.clickhouseTable);
  const [last] = await clickhouse.select<{ ms: string }>(
    `SELECT toString(toUnixTimestamp64Milli(max(delivered_at)) + 1) AS ms FROM {table:Identifier} WHERE source = {source:String} AND ${current}`,
    { table: config.clickhouseTable, source },
  );
  return Number(last!.ms);
}

/** How many rows of a pending insert are in the table. A view that failed has none of them, and no comparison sends them again. */
async function unproven({ config, examined, clickhouse, hasViews }: Work, atMs: number | undefined): Promise<number> {
  if (!hasViews || atMs === undefined) return 0;
  const current = await whereCurrent(clickhouse, config.clickhouseTable);
  const [found] = await clickhouse.select<{ rows: string }>(
    `SELECT toString(count()) AS rows FROM {table:Identifier}
      WHERE ${current} AND source = {source:String} AND delivered_at = fromUnixTimestamp64Milli({atMs:Int64}, 'UTC')`,
    { table: config.clickhouseTable, source: examined.source, atMs },
  );
  return Number(found!.rows);
}

function sending({ onProgress }: Work): () => void {
  return () => onProgress({ step: 'sending what is missing' });
}

/** What the stream of a lost slot would have delivered is compared as one, whatever its dates. */
async function ofEverything(work: Work, first: Database): Promise<ComparisonOptions & { movedAtMs: number }> {
  const { examined } = work;
  const movedAtMs = examined.isMoved ? await lastDeliveredMs(work) : examined.movedAtMs;
  return { ...(await comparison(work, first, ALL, false)), movedAtMs };
}

async function comparison(
  work: Work,
  first: Database,
  window: Window,
  looksAgain: boolean,
): Promise<ComparisonOptions> {
  const { config, examined, ask, connect, clickhouse, onProgress } = work;
  return {
    first,
    second: looksAgain ? await connect(true) : undefined,
    ask,
    ...(await scopeOfSlot(ask, config.slot, examined)),
    // positions of another server say nothing here
    ...(examined.isMoved ? { since: 0 } : {}),
    window,
    waitMs: DELIVERY_WAIT_MS,
    onProgress,
    clickhouse,
    table: config.clickhouseTable,
    dates: await eventTimeOf(clickhouse, config.clickhouseTable),
  };
}
