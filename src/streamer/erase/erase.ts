import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import { ClickHouse, LONG_SELECT_MS } from '../clickhouse/client.ts';
import { detachedParts } from '../clickhouse/detached-parts.ts';
import { holdsOf, readPolicy } from '../clickhouse/retention-policy.ts';
import { insertingOf } from '../clickhouse/settings.ts';
import { checkTarget } from '../clickhouse/target.ts';
import type { Config } from '../config.ts';
import { INSERT_MARGIN_MS } from '../delivery/retry.ts';
import { knownAs } from '../ledger/row.ts';
import { sharesOf } from '../ledger/shares.ts';
import { lockRepair } from '../repair/repair.ts';
import { proveDelivered } from '../retention/proof.ts';
import { outboxOf } from '../share.ts';
import { ERASE_LOCK, eraseBusy, MIGRATION_LOCK, tryLock } from '../source/advisory-lock.ts';
import { Database } from '../source/database.ts';
import { checkMigrated } from '../source/server.ts';
import { writtenTo } from '../source/wal-end.ts';
import type { Filter } from './filter.ts';
import { checkPrivileges, countHeld, countIn, keptOf, removeEvents, removeQuarantined } from './outbox.ts';
import { begin, end, noteFence, unfinished, type Erasure } from './record.ts';
import {
  copyErasure,
  countEverywhere,
  countHeldRows,
  countRows,
  eraseRows,
  makeTables,
  nextRows,
  tombstones,
  type EventTable,
  type Place,
} from './table.ts';

/** What a filter fits, by tables. */
export interface Found {
  readonly outbox: number;
  readonly quarantine: number;
  readonly clickhouse: number;
  /** Rows of the same table that came from other outboxes: nothing is done about them. */
  readonly ofOthers: number;
  /** Rows on other shards of a cluster: each is erased by its own CLICKHOUSE_URL. */
  readonly onOtherShards: number;
  /** Tables that materialized views fill from the events: what they hold of them is not known here. */
  readonly fed: readonly string[];
  /** Parts of the table that are detached, and were not looked into. */
  readonly detachedParts: number;
}

export interface EraseReport {
  readonly erasure: string;
  readonly outbox: number;
  readonly quarantine: number;
  /** Tombstones that it has left: one for each row of ClickHouse, those of earlier calls included. */
  readonly events: number;
  readonly tombstones: string;
  /** Rows of the same filter that were emitted after it began, and stay. */
  readonly newer: number;
}

export interface EraseOptions {
  readonly filter: Filter;
  /** Sources in ClickHouse whose outbox is gone, beside this one's. */
  readonly sources: readonly string[];
  /** How long streamers may take to deliver, in ms. */
  readonly waitMs: number;
  /** How long an insert may live that a killed `repair` or `quarantine retry` has sent, in ms: as long as any, unless it is given. */
  readonly insertLivesMs?: number;
}

/** Removes events for ever. What it begins is in outbox.erasure; another call with the same filter goes on where one was killed. */
export class Eraser implements AsyncDisposable {
  readonly #config: Config;
  readonly #options: EraseOptions;
  readonly #db: Database;
  readonly #at: EventTable;

  private constructor(config: Config, options: EraseOptions, db: Database, at: EventTable) {
    this.#config = config;
    this.#options = options;
    this.#db = db;
    this.#at = at;
  }

  /** Throws OUTBOX_PG_*, OUTBOX_CH_*, OUTBOX_DETACHED and OUTBOX_SYSTEM_CHANGED. */
  static async open(config: Config, options: EraseOptions): Promise<Eraser> {
    const parameters = { synchronous_commit: 'on', statement_timeout: '0' };
    const db = await Database.connect(config, { queryTimeoutMs: 0, parameters }, () => undefined);
    const clickhouse = new ClickHouse(config, LONG_SELECT_MS, insertingOf(config));
    try {
      await checkMigrated(db);
      await checkPrivileges(db);
      const own = await Promise.all((await sharesOf(db, config.slot)).map(async ({ slot }) => knownAs(db, slot)));
      const bases = new Set([...own.map(({ source }) => outboxOf(source)), ...options.sources]);
      const at = { clickhouse, table: config.clickhouseTable, sources: [...bases], filter: options.filter };
      return new Eraser(config, options, db, at);
    } catch (error) {
      await Promise.all([clickhouse.close(), db.close()]);
      throw error;
    }
  }

  /** Counts, and changes nothing. Throws OUTBOX_ERASE_HELD, OUTBOX_PG_* and OUTBOX_CH_*. */
  async count(): Promise<Found> {
    const { clickhouse, table, filter } = this.#at;
    const { tables } = await checkTarget(clickhouse, table);
    await this.#refuseHeld();
    const { own, others } = await countRows(this.#at);
    const everywhere = this.#config.clickhouseCluster === '' ? own : ((await countEverywhere(this.#at)) ?? own);
    const detached = await detachedParts(clickhouse, table, 0);
    return {
      ...(await countIn(this.#db, filter)),
      clickhouse: own,
      ofOthers: others,
      onOtherShards: Math.max(0, everywhere - own),
      fed: tables.map(({ database, name }) => `${database}.${name}`).slice(1),
      detachedParts: detached.reduce((sum, { parts }) => sum + parts, 0),
    };
  }

  /** The erasure of the same filter that was killed. */
  async unfinished(): Promise<Erasure | undefined> {
    return unfinished(this.#db, this.#at.filter);
  }

  /**
   * Erases what is committed by now. Each step may be the last one: what is gone from ClickHouse is gone from Postgres before, so that
   * nothing sends it again. Throws OUTBOX_ERASE_BUSY, OUTBOX_ERASE_UNDELIVERED, OUTBOX_PG_* and OUTBOX_CH_*.
   */
  async erase(reason: string, onProgress: (line: string) => void): Promise<EraseReport> {
    await this.#lock();
    const lockedMs = performance.now();
    // what is not delivered yet would come after all: before anything is changed, it is known that it can be waited for
    const obstacle = await proveDelivered(this.#db, await writtenTo(this.#db), 0, () => true);
    if (obstacle?.passes === false) throw new OutboxError('OUTBOX_ERASE_UNDELIVERED', { detail: obstacle.reason });
    await makeTables(this.#at.clickhouse, this.#at.table, this.#config.clickhouseCluster);
    const erasure = (await this.unfinished()) ?? (await begin(this.#db, randomUUID(), this.#at.filter, reason));
    onProgress(`${erasure.isResumed ? 'going on with' : 'beginning'} the erasure ${erasure.id}`);
    const { wasRetried, ...removed } = await this.#eraseFromPostgres(erasure, onProgress);
    await this.#outlastInserts(wasRetried ? performance.now() : lockedMs, onProgress);
    const newer = await this.#eraseFromClickHouse(erasure, onProgress);
    const left = await tombstones(this.#at, erasure);
    await copyErasure(this.#at, erasure, left);
    await end(this.#db, erasure, left);
    return { erasure: erasure.id, ...removed, events: left.events, tombstones: left.digest, newer };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#at.clickhouse.close(), this.#db.close()]);
  }

  /** Nobody sends or compares the same events until the connection ends. */
  async #lock(): Promise<void> {
    if (!(await tryLock(this.#db, ERASE_LOCK))) throw await eraseBusy(this.#db);
    if (!(await tryLock(this.#db, MIGRATION_LOCK)))
      throw new OutboxError('OUTBOX_ERASE_BUSY', { detail: '`migrate` or `reshard` is under way' });
    for (const { slot } of await sharesOf(this.#db, this.#config.slot))
      await lockRepair(this.#db, slot).catch((error: unknown) => {
        const isBusy = error instanceof OutboxError && error.code === 'OUTBOX_REPAIR_BUSY';
        throw isBusy ? new OutboxError('OUTBOX_ERASE_BUSY', { detail: `the slot "${slot}" is repaired` }) : error;
      });
  }

  async #refuseHeld(): Promise<void> {
    const holds = holdsOf(readPolicy(this.#config.clickhouseRetention, 0).policy);
    if (this.#config.clickhouseRetention === '' || holds.length === 0) return;
    const held = (await countHeld(this.#db, this.#at.filter, holds)) + (await countHeldRows(this.#at, holds));
    if (held > 0) throw new OutboxError('OUTBOX_ERASE_HELD', { detail: `${held} rows are held` });
  }

  /** Waits until every slot has delivered all that is committed by now. */
  async #untilDelivered(onProgress: (line: string) => void): Promise<number> {
    const lsn = await writtenTo(this.#db);
    onProgress('waiting until everything that is committed is delivered');
    const obstacle = await proveDelivered(this.#db, lsn, this.#options.waitMs, () => true);
    if (obstacle !== undefined) throw new OutboxError('OUTBOX_ERASE_UNDELIVERED', { detail: obstacle.reason });
    return lsn;
  }

  async #eraseFromPostgres(
    erasure: Erasure,
    onProgress: (line: string) => void,
  ): Promise<{ outbox: number; quarantine: number; wasRetried: boolean }> {
    const { filter } = this.#at;
    let outbox = 0;
    await removeEvents(this.#db, filter, (rows) => (outbox += rows));
    onProgress(`removed ${outbox.toLocaleString('en-US')} events from ${this.#db.schema}.event`);
    // all that was removed there is in ClickHouse or in quarantine by then
    await noteFence(this.#db, erasure, await this.#untilDelivered(onProgress));
    const { rows: quarantine, wasRetried } = await removeQuarantined(this.#db, filter);
    onProgress(`removed ${quarantine.toLocaleString('en-US')} events from ${this.#db.schema}.quarantine`);
    return { outbox, quarantine, wasRetried };
  }

  /** Waits until nothing can be under way that was sent before a moment: a `repair` or a `quarantine retry` may have been killed. */
  async #outlastInserts(sinceMs: number, onProgress: (line: string) => void): Promise<void> {
    const livesMs = this.#options.insertLivesMs ?? this.#config.insertTimeoutMs + INSERT_MARGIN_MS;
    const leftMs = sinceMs + livesMs - performance.now();
    if (leftMs <= 0) return;
    onProgress(`waiting ${Math.ceil(leftMs / 1000)} s, until no earlier insert can be under way`);
    await sleep(leftMs);
  }

  /** Erases until a look from the beginning to the end finds nothing more. Returns how many rows stay, because Postgres has them since. */
  async #eraseFromClickHouse(erasure: Erasure, onProgress: (line: string) => void): Promise<number> {
    const { filter } = this.#at;
    let total = 0;
    for (;;) {
      let newer = 0;
      let erased = 0;
      let last: Place | undefined;
      for (;;) {
        const rows = await nextRows(this.#at, last);
        last = rows.at(-1);
        if (last === undefined) break;
        const kept = await keptOf(
          this.#db,
          filter,
          rows.map(({ id }) => id),
        );
        const gone = rows.filter(({ id }) => !kept.has(id));
        newer += rows.length - gone.length;
        erased += gone.length;
        await eraseRows(this.#at, erasure, gone);
        if (gone.length > 0)
          onProgress(`erased ${(total += gone.length).toLocaleString('en-US')} rows from ClickHouse`);
      }
      if (erased === 0) return newer;
    }
  }
}
