import { parseArgs } from 'node:util';
import { OutboxError } from '../../errors.ts';
import { Comparison, deliveredSnapshot } from '../compare/comparison.ts';
import type { ComparisonOptions, Progress } from '../compare/comparison.ts';
import type { Kind } from '../compare/classify.ts';
import { OutboxSnapshot, SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import { ALL, parseTime } from '../compare/window.ts';
import type { Window } from '../compare/window.ts';
import { readConfig } from '../config.ts';
import type { Config } from '../config.ts';
import { ClickHouse } from '../delivery/clickhouse.ts';
import { INSERT_MARGIN_MS, PROOF_MAX_AGE_MS } from '../delivery/deliver.ts';
import { ReadBack } from '../delivery/readback.ts';
import { checkTarget } from '../delivery/target.ts';
import { createLogger } from '../log.ts';
import { Database } from '../postgres.ts';
import { examine } from '../repair/gap.ts';
import type { Examined } from '../repair/gap.ts';
import { RepairLedger } from '../repair/ledger.ts';
import { Sender } from '../repair/sender.ts';
import { beginRepair, createSlot, dropSlot, endRepair } from '../repair/slot.ts';
import { checkServer } from '../source/slot.ts';
import { checkFailover } from './migrate.ts';
import { Status } from './status.ts';

const HELP = `Usage: pg-outbox-clickhouse repair [options]

Delivers what outbox.event has and ClickHouse lacks, each event once. Where the stream itself has a gap (the slot is
lost, invalidated or made again, the publication was changed) it takes the slot away, makes a new one and a snapshot of all
that the new slot will not stream, compares that with ClickHouse, and sends what is missing; a streamer waits meanwhile
and goes on by itself. Without a gap it works beside the streamer. Interrupted, it is run again: what was sent is there.

What was emptied from the outbox cannot be repaired. Rows in ClickHouse that Postgres does not have, or has otherwise, are
counted and left alone; verify names them.

Options
  --from <time>, --to <time>
              events of these dates only (event_date_time), as verify takes them; where the stream has no gap
  --new-slot  make a new slot although the stream seems to have no gap: for a streamer that stops all the same
  --dry-run   say what would be done, and what is missing where the stream has no gap; change nothing
  --json      one JSON document on stdout

Exit codes
  0 nothing is missing any more   1 failed, or events were refused and are in quarantine   2 wrong usage or configuration
`;

const SILENCE_MS = 10 * 60_000;
const DELIVERY_WAIT_MS = 60_000;
/** A repair is ended by killing it. */
const NEVER = new AbortController().signal;
const ADVISORY_LOCK = 0x6f7574726570;

export interface RepairReport {
  /** Why a new slot was made; null when the stream has no gap. */
  readonly gap: string | null;
  /** Null where only a new slot's snapshot could tell. */
  readonly missing: number | null;
  readonly sent: number;
  readonly quarantined: number;
  /** Found on the way, and left alone. */
  readonly altered: number;
  readonly double: number;
  readonly extra: number;
}

export type RepairProgress = Progress | { readonly step: 'waiting for inserts under way' | 'making the slot' };

/** `pg-outbox-clickhouse repair`: returns the exit code. Throws OutboxErrors. */
export async function repairCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const options = parse(args);
  if (options === undefined || options.help) {
    process[options === undefined ? 'stderr' : 'stdout'].write(HELP);
    return options === undefined ? 2 : 0;
  }
  let step = '';
  const report = await repair(readConfig(env), options, (progress) => {
    if (progress.step !== step && !options.json) process.stderr.write(`${progress.step}\n`);
    step = progress.step;
  });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : print(report, options.dryRun));
  return report.quarantined === 0 ? 0 : 1;
}

interface RepairOptions {
  readonly dryRun: boolean;
  readonly newSlot: boolean;
  readonly window: Window;
}

function parse(args: string[]): (RepairOptions & { json: boolean; help: boolean }) | undefined {
  try {
    const { values } = parseArgs({
      args,
      options: {
        'dry-run': { type: 'boolean', default: false },
        'new-slot': { type: 'boolean', default: false },
        from: { type: 'string' },
        to: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return {
      dryRun: values['dry-run'],
      newSlot: values['new-slot'],
      window: { from: time(values.from), to: time(values.to) },
      json: values.json,
      help: values.help,
    };
  } catch {
    return undefined;
  }
}

/** Throws when it is none: what it means is in the help. */
function time(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  const us = parseTime(text, Date.now());
  if (us === undefined) throw new RangeError('no time');
  return us;
}

function print(report: RepairReport, isDry: boolean): string {
  const lines = [
    report.gap === null
      ? 'the stream has no gap'
      : `${report.gap}: ${isDry ? 'a new slot would be made' : 'a new slot was made'}`,
    ...(isDry && report.gap !== null
      ? []
      : [`missing ${report.missing ?? 'unknown'}   sent ${report.sent}   quarantined ${report.quarantined}`]),
  ];
  const { altered, double, extra } = report;
  if (altered + double + extra > 0)
    lines.push(`left alone: altered ${altered}   double ${double}   extra ${extra} (see verify)`);
  return `${lines.join('\n')}\n`;
}

/**
 * Delivers what is missing. Throws OUTBOX_REPAIR_BUSY, OUTBOX_PG_*, OUTBOX_SLOT_*, OUTBOX_PUBLICATION_MISSING, OUTBOX_VERIFY_* and
 * OUTBOX_CH_*.
 */
export async function repair(
  config: Config,
  { dryRun: isDry, newSlot, window }: RepairOptions,
  onProgress: (progress: RepairProgress) => void = () => undefined,
): Promise<RepairReport> {
  const opened: Database[] = [];
  const connect = async (isLong: boolean): Promise<Database> => {
    const long = { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS };
    const db = await Database.connect(config.databaseUrl, isLong ? long : {}, () => undefined);
    opened.push(db);
    return db;
  };
  const clickhouse = new ClickHouse(config.clickhouseUrl, SILENCE_MS);
  const inserting = new ClickHouse(config.clickhouseUrl, config.insertTimeoutMs);
  try {
    const ask = await connect(false);
    await checkServer(ask);
    await lock(ask, config.slot);
    await checkTarget(clickhouse, config.clickhouseTable);
    const patient = await examine(ask, config.slot);
    const work: Work = { config, patient, ask, connect, clickhouse, inserting, onProgress };
    const gap = patient.gap ?? (newSlot ? 'a new slot was asked for' : undefined);
    if (gap === undefined) return await fillBeside(work, window, isDry);
    if (window.from !== undefined || window.to !== undefined)
      throw new OutboxError('OUTBOX_REPAIR_WINDOW', { detail: `${gap}: everything must be compared` });
    if (isDry) return { gap, missing: null, sent: 0, quarantined: 0, altered: 0, double: 0, extra: 0 };
    return await fillGap(work, gap);
  } finally {
    await Promise.all([clickhouse.close(), inserting.close(), ...opened.map(async (db) => db.close())]);
  }
}

interface Work {
  readonly config: Config;
  readonly patient: Examined;
  readonly ask: Database;
  readonly connect: (isLong: boolean) => Promise<Database>;
  readonly clickhouse: ClickHouse;
  /** The same, with the patience of an insert. */
  readonly inserting: ClickHouse;
  readonly onProgress: (progress: RepairProgress) => void;
}

/** Waits until no insert of that kind can be under way any more. */
async function inserts(
  { config, patient, clickhouse, onProgress }: Work,
  kind: 'repair' | 'any',
  sentLaterMs: number,
): Promise<void> {
  onProgress({ step: 'waiting for inserts under way' });
  const options = { clickhouse, table: config.clickhouseTable, source: patient.source, kind };
  const readBack = new ReadBack({ ...options, log: createLogger({ level: 'silent' }), signal: NEVER, stop: NEVER });
  await readBack.quiet(performance.now() + sentLaterMs + config.insertTimeoutMs + INSERT_MARGIN_MS);
}

async function lock(db: Database, slot: string): Promise<void> {
  const { rows } = await db.query<{ mine: boolean }>('SELECT pg_try_advisory_lock($1::bigint # hashtext($2)) AS mine', [
    ADVISORY_LOCK,
    slot,
  ]);
  if (rows[0]?.mine !== true) throw new OutboxError('OUTBOX_REPAIR_BUSY');
}

/** What a snapshot shows, and the streamer has delivered, and ClickHouse lacks all the same, the stream will never bring. */
async function fillBeside(work: Work, window: Window, isDry: boolean): Promise<RepairReport> {
  const { ask, connect } = work;
  // a repair that was killed may have an insert under way, of other events than this one will send together
  await inserts(work, 'repair', 0);
  const comparing = await comparison(work, await connect(true), window, true);
  const { snapshot } = await deliveredSnapshot(comparing);
  const prove = async (): Promise<void> => void (await ask.query('SELECT 1'));
  const report = await fill(work, comparing, snapshot, { lsn: snapshot.horizon.lsn, timeline: 0, prove, isDry });
  return { gap: null, ...report };
}

/** Takes the stream over, and hands it back behind a new slot's begin. */
async function fillGap(work: Work, gap: string): Promise<RepairReport> {
  const { config, patient, ask, connect, onProgress } = work;
  const { slot } = config;
  const epoch = await beginRepair(ask, slot);
  await inserts(work, 'any', PROOF_MAX_AGE_MS);
  onProgress({ step: 'making the slot' });
  if (config.slotFailover === 'on') await checkFailover(ask);
  if (patient.slotExists) await dropSlot(ask, slot);
  const made = await createSlot(config.databaseUrl, slot, config.slotFailover === 'on');
  try {
    const first = await connect(true);
    const snapshot = await OutboxSnapshot.import(first, made.snapshot, made.consistentLsn);
    await made.release();
    const prove = async (): Promise<void> => {
      const { count } = await ask.query('SELECT FROM outbox.stream WHERE slot_name = $1 AND epoch = $2', [slot, epoch]);
      if (count === 0) throw new OutboxError('OUTBOX_EPOCH_LOST');
    };
    const comparing = await comparison(work, first, ALL, false);
    const { consistentLsn, timeline } = made;
    const report = await fill(work, comparing, snapshot, { lsn: consistentLsn, timeline, prove, isDry: false });
    await endRepair(ask, slot, { epoch, publication: patient.publication, timeline, consistentLsn });
    return { gap, ...report };
  } finally {
    await made.release();
  }
}

async function comparison(
  work: Work,
  first: Database,
  window: Window,
  looksAgain: boolean,
): Promise<ComparisonOptions> {
  const { config, patient, ask, connect, clickhouse, onProgress } = work;
  return {
    first,
    second: looksAgain ? await connect(true) : undefined,
    ask,
    slot: config.slot,
    window,
    waitMs: DELIVERY_WAIT_MS,
    onProgress,
    clickhouse,
    source: patient.source,
    table: config.clickhouseTable,
  };
}

/** Compares a snapshot with ClickHouse, and sends what is missing. */
async function fill(
  { config, patient, ask, inserting }: Work,
  comparing: ComparisonOptions,
  snapshot: OutboxSnapshot,
  { lsn, timeline, prove, isDry }: { lsn: number; timeline: number; prove: () => Promise<void>; isDry: boolean },
): Promise<Omit<RepairReport, 'gap'>> {
  const ledger = new RepairLedger({
    db: ask,
    slot: config.slot,
    timeline,
    // records begin at multiples of eight: no event of the stream stands there
    from: { lsn: lsn - 1, seq: 0 },
    prove,
  });
  const sender = new Sender({
    clickhouse: inserting,
    ledger,
    table: config.clickhouseTable,
    source: patient.source,
    insertTimeoutMs: config.insertTimeoutMs,
    quarantineMaxRows: config.quarantineMaxRows,
    retryMaxMs: config.retryMaxMs,
    maxRows: config.batchMaxRows,
    maxBytes: config.batchMaxBytes,
    log: createLogger({ level: config.logLevel }, process.stderr),
    status: new Status(),
    signal: NEVER,
    stop: NEVER,
  });
  const counts: Record<Kind, number> = {
    missing: 0,
    double: 0,
    altered: 0,
    extra: 0,
    quarantined: 0,
    discarded: 0,
    expired: 0,
  };
  const wanted = new Map<string, number>();
  const send = async (): Promise<void> => {
    if (wanted.size === 0) return;
    const ids = [...new Set([...wanted.keys()].map((key) => key.slice(0, 36)))];
    for await (const events of snapshot.events(ids)) {
      for (const event of events) {
        const key = `${event.id} ${event.digest}`;
        const copies = wanted.get(key) ?? 0;
        if (copies === 0) continue;
        wanted.set(key, copies - 1);
        await sender.add(event, copies);
      }
    }
    wanted.clear();
  };
  for await (const { kind, id, count, outbox } of new Comparison(comparing, snapshot).differences()) {
    counts[kind] += count;
    if (kind !== 'missing' || isDry) continue;
    wanted.set(`${id} ${outbox!.digest}`, count);
    if (wanted.size >= MAX_WANTED) await send();
  }
  await send();
  await sender.flush();
  await snapshot.end();
  const { missing, altered, double, extra } = counts;
  const { sent, quarantined } = sender;
  return { missing, sent, quarantined, altered, double, extra };
}

/** Events that are fetched together. */
const MAX_WANTED = 50_000;
