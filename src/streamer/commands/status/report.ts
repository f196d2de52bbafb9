import type { ErrorCode } from '../../../errors.ts';
import type { Config } from '../../config.ts';
import { ClickHouse } from '../../clickhouse/client.ts';
import { formatPosition } from '../../../position.ts';
import { Database } from '../../source/database.ts';
import { deliveredBetween, lookAtSink, lookAtSource, lookAtWaiting, PATIENCE_MS } from './databases.ts';
import type { Sink, Source, Waiting } from './databases.ts';
import { reasonOf, STALLED_AFTER_MS } from '../../observe/readiness.ts';
import type { Reason, SlotStatus } from '../../observe/readiness.ts';
import { OutboxError } from '../../../errors.ts';

const POSTGRES_PATIENCE_MS = 3000;

/** What `status` prints. Times are ISO 8601; what is not known, or is not there, is null. */
export interface FlowReport {
  readonly at: string;
  readonly flowing: boolean;
  /** Why events do not flow. */
  readonly reasons: readonly Reason[];
  /** What an operator should know although they flow. */
  readonly warnings: readonly Reason[];
  readonly slotName: string;
  readonly table: string;
  /** Process ids in Postgres of who holds the slot, and how many others stand by. */
  readonly streamer: { readonly walsender: number; readonly backend: number | null; readonly standbys: number } | null;
  readonly delivered: {
    readonly position: string;
    readonly committedAt: string | null;
    readonly deliveredAt: string | null;
  } | null;
  readonly waiting: {
    readonly events: number;
    /** There may be more. */
    readonly atLeast: boolean;
    readonly oldestAt: string | null;
    readonly seconds: number;
  } | null;
  /** From what is delivered to the end of WAL, other tables' WAL included. */
  readonly walBytes: number | null;
  /** Since the look before; null at the first. */
  readonly eventsPerSecond: number | null;
  readonly pending: { readonly rows: number; readonly since: string } | null;
  readonly slot: SlotStatus | null;
  readonly quarantined: number | null;
  readonly readingBack: boolean;
  readonly repairing: boolean;
  readonly clickhouse: { readonly version: string; readonly lastPartAt: string | null } | null;
}

/** Looks at the flow of events from outside: whichever of the two databases answers. */
export class FlowWatch {
  readonly #config: Config;
  readonly #clickhouse: ClickHouse;
  #db: Database | undefined;
  #before: { readonly atMs: number; readonly lsn: number } | undefined;

  constructor(config: Config) {
    this.#config = config;
    this.#clickhouse = new ClickHouse(config.clickhouseUrl, PATIENCE_MS);
  }

  /** Never throws for what the databases say. */
  async look(): Promise<FlowReport> {
    const faults: Reason[] = [];
    const source = await this.#ask(faults, async (db) => lookAtSource(db, this.#config));
    const sink = await this.#sink(faults, source);
    const waiting =
      source === undefined ? undefined : await this.#ask(faults, async (db) => lookAtWaiting(db, source, sink));
    const eventsPerSecond = source === undefined || sink === undefined ? null : await this.#rate(source);
    return report(this.#config, { faults, source, sink, waiting, eventsPerSecond });
  }

  async close(): Promise<void> {
    await Promise.all([this.#clickhouse.close(), this.#db?.close()]);
  }

  async #ask<T>(faults: Reason[], question: (db: Database) => Promise<T>): Promise<T | undefined> {
    try {
      return await within(POSTGRES_PATIENCE_MS, async () => question(await this.#connected()));
    } catch (error) {
      if (!(error instanceof OutboxError)) throw error;
      if (faults.every(({ code }) => code !== error.code)) faults.push(reasonOf(error));
      if (error.code === 'OUTBOX_PG_UNREACHABLE') {
        void this.#db?.close();
        this.#db = undefined;
      }
      return undefined;
    }
  }

  async #connected(): Promise<Database> {
    if (this.#db !== undefined) return this.#db;
    const db = await Database.connect(this.#config.databaseUrl, {}, () => {
      this.#db = undefined;
    });
    await db.query("SELECT set_config('application_name', 'pg-outbox-clickhouse status', false)");
    this.#db = db;
    return db;
  }

  async #sink(faults: Reason[], source: Source | undefined): Promise<Sink | undefined> {
    try {
      return await lookAtSink(this.#clickhouse, this.#config.clickhouseTable, source);
    } catch (error) {
      faults.push(reasonOf(error));
      return undefined;
    }
  }

  async #rate({ name, delivered }: Source): Promise<number | null> {
    const before = this.#before;
    const atMs = performance.now();
    this.#before = { atMs, lsn: delivered.lsn };
    if (before === undefined) return null;
    try {
      const range = [before.lsn, delivered.lsn] as const;
      const events = await deliveredBetween(this.#clickhouse, this.#config.clickhouseTable, name, range);
      return Math.round(events / ((atMs - before.atMs) / 1000));
    } catch {
      return null;
    }
  }
}

async function within<T>(ms: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: `no answer from Postgres within ${ms} ms` }));
    }, ms);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

interface Seen {
  readonly faults: readonly Reason[];
  readonly source: Source | undefined;
  readonly sink: Sink | undefined;
  readonly waiting: Waiting | undefined;
  readonly eventsPerSecond: number | null;
}

function report(config: Config, { faults, source, sink, waiting, eventsPerSecond }: Seen): FlowReport {
  const nowMs = Date.now();
  const reasons = [...faults, ...(source === undefined ? [] : obstacles(config, { source, sink, waiting, nowMs }))];
  const { holder, pending, slot } = source ?? {};
  const { oldestMs } = waiting ?? {};
  return {
    at: iso(nowMs)!,
    flowing: reasons.length === 0,
    reasons,
    warnings: source === undefined ? [] : cautions(source),
    slotName: config.slot,
    table: config.clickhouseTable,
    streamer:
      holder?.walsender === undefined
        ? null
        : { walsender: holder.walsender, backend: holder.backend ?? null, standbys: holder.standbys },
    delivered:
      source === undefined
        ? null
        : {
            position: formatPosition(source.delivered),
            committedAt: iso(sink?.committedMs),
            deliveredAt: iso(sink?.deliveredMs),
          },
    waiting:
      waiting === undefined
        ? null
        : {
            events: waiting.events,
            atLeast: waiting.isAtLeast,
            oldestAt: iso(oldestMs),
            seconds: oldestMs === undefined ? 0 : Math.max(0, Math.round((nowMs - oldestMs) / 100) / 10),
          },
    walBytes: source === undefined ? null : Math.max(0, source.walEnd - source.reached),
    eventsPerSecond,
    pending: pending === undefined ? null : { rows: pending.rows, since: iso(pending.sinceMs)! },
    slot:
      source === undefined || slot === undefined
        ? null
        : {
            walStatus: slot.walStatus,
            safeWalBytes: slot.safeWalBytes,
            runwayMinutes: source.runwayMinutes,
            endangered: source.isEndangered,
          },
    quarantined: source?.quarantined ?? null,
    readingBack: source?.isReadingBack ?? false,
    repairing: source?.isRepairing ?? false,
    clickhouse: sink === undefined ? null : { version: sink.version, lastPartAt: iso(sink.lastPartMs) },
  };
}

/** What keeps events from flowing, by what the databases show. */
function obstacles(
  config: Config,
  {
    source,
    sink,
    waiting,
    nowMs,
  }: { source: Source; sink: Sink | undefined; waiting: Waiting | undefined; nowMs: number },
): Reason[] {
  const { holder, pending, slotFault, isRepairing } = source;
  const found: Reason[] = [];
  const say = (code: ErrorCode, detail: string): void => void found.push({ code, detail });
  const seconds = (sinceMs: number): number => Math.round((nowMs - sinceMs) / 1000);
  if (isRepairing) say('OUTBOX_REPAIR_UNFINISHED', 'a repair is under way, or was interrupted');
  if (slotFault !== undefined) found.push(slotFault);
  else if (holder?.walsender === undefined) say('OUTBOX_FLOW_NO_STREAMER', 'no streamer holds the slot');
  else if (!holder.isStreamer)
    say('OUTBOX_FLOW_NO_STREAMER', `the slot is held by something else (${holder.walsender})`);
  if (pending !== undefined && nowMs - pending.sinceMs > STALLED_AFTER_MS)
    say('OUTBOX_FLOW_STALLED', `a batch of ${pending.rows} rows is pending for ${seconds(pending.sinceMs)} s`);
  const { oldestMs = nowMs } = waiting ?? {};
  const restMs = STALLED_AFTER_MS + config.flushIntervalMs;
  const stillMs = nowMs - Math.max(oldestMs, sink?.deliveredMs ?? 0);
  if (pending === undefined && found.length === 0 && stillMs > restMs)
    say('OUTBOX_FLOW_STALLED', `the oldest event waits for ${seconds(oldestMs)} s, and none was delivered lately`);
  if (config.readyMaxLagMs > 0 && nowMs - oldestMs > config.readyMaxLagMs)
    say('OUTBOX_FLOW_LATE', `the oldest event waits for ${seconds(oldestMs)} s`);
  return found;
}

function cautions({ quarantined, isReadingBack, isEndangered, slot, runwayMinutes }: Source): Reason[] {
  const found: Reason[] = [];
  if (isEndangered) {
    const runway = runwayMinutes === undefined ? '' : `, ${runwayMinutes} min at the usual rate`;
    found.push({ code: 'OUTBOX_SLOT_ENDANGERED', detail: `wal_status is ${slot?.walStatus}${runway}` });
  }
  if (quarantined > 0) found.push({ code: 'OUTBOX_QUARANTINED', detail: `${quarantined} events are in quarantine` });
  if (isReadingBack)
    found.push({ code: 'OUTBOX_TIMELINE_CHANGED', detail: 'what was written before is looked for in ClickHouse' });
  return found;
}

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
