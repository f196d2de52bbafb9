import { setTimeout as sleep } from 'node:timers/promises';
import { context, SpanStatusCode, trace } from '@opentelemetry/api';
import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { PACKAGE_NAME } from '../../package.ts';
import type { ClickHouseAccess } from '../clickhouse/access.ts';
import { ClickHouse, LONG_SELECT_MS } from '../clickhouse/client.ts';
import { eventTimeOf } from '../clickhouse/event-time.ts';
import { insertingOf } from '../clickhouse/settings.ts';
import { SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import type { Config } from '../config.ts';
import { holderOf } from '../ledger/holder.ts';
import { overviewOf } from '../ledger/overview.ts';
import { scopeOfSlot, sharesOf } from '../ledger/shares.ts';
import { readPem } from '../pem-file.ts';
import type { DatabaseAccess } from '../source/access.ts';
import { Database } from '../source/database.ts';
import { writtenTo } from '../source/wal-end.ts';
import { align } from './align.ts';
import { ClosedHours } from './closed-hours.ts';
import { DueHours } from './due-hours.ts';
import { Maker } from './maker.ts';
import { isoHour, signingKeyOf, type Hour, type Manifest, type SigningKey } from './manifest.ts';
import { manifestsOf, OutboxManifests, TableManifests } from './store.ts';
import { TableDigests } from './table-digests.ts';
import { oldestHour } from './witness.ts';

const POLL_MS = 200;
const NAMED = "SELECT set_config('application_name', 'pg-outbox-clickhouse manifests', false)";

export type ManifestsConfig = Pick<
  Config,
  | 'slot'
  | 'clickhouseTable'
  | 'manifestKeyFile'
  | 'insertQuorum'
  | 'clickhouseCluster'
  | 'clickhouseCompression'
  | 'flushIntervalMs'
> &
  DatabaseAccess &
  ClickHouseAccess;

export interface ManifestsReport {
  /** How many were made. */
  readonly made: number;
  /** Of the slot: the last one of the chain. */
  readonly head: Pick<Manifest, 'number' | 'hour' | 'hash'> | undefined;
  /** Why hours that are closed have none: the first of the reasons. */
  readonly trouble: OutboxError | undefined;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  /** How long the stream may take to deliver what closed hours hold, in ms. */
  readonly waitMs?: number;
  readonly onMade?: (manifest: Manifest) => void;
}

/** One of a source that is made while it runs. */
interface Chain {
  readonly slot: string;
  readonly epoch: number;
  readonly source: string;
  /** See partOf. */
  readonly part: string;
  readonly maker: Maker;
  readonly outbox: OutboxManifests;
  readonly table: TableManifests;
  readonly digests: TableDigests;
  /** Reads whole partitions: its statements may take long. */
  readonly snapshots: Database;
  /** Its own events begin in this hour. */
  readonly begins: Hour;
}

/**
 * Makes the manifests of the hours that are closed and delivered, and of those to which events came late; an hour is made again by no
 * process. What Postgres has is written first, and copied to ClickHouse; a copy that a crash has left out is made by the next run.
 */
export class Manifests {
  readonly #config: ManifestsConfig;
  readonly #closed = new ClosedHours();
  /** By source. */
  readonly #due = new Map<string, DueHours>();

  constructor(config: ManifestsConfig) {
    this.#config = config;
  }

  /** On connections of its own. Throws OUTBOX_MANIFEST_FORKED, OUTBOX_PG_*, OUTBOX_CH_*. */
  async run(options: RunOptions): Promise<ManifestsReport> {
    const { slot } = this.#config;
    const parameters = { synchronous_commit: 'on', statement_timeout: '60s' };
    const opened: Database[] = [];
    const connect = async (connection: Parameters<typeof Database.connect>[1]): Promise<Database> => {
      const db = await Database.connect(this.#config, connection, () => undefined);
      opened.push(db);
      await db.query(NAMED);
      return db;
    };
    const clickhouse = new ClickHouse(this.#config, LONG_SELECT_MS, insertingOf(this.#config));
    try {
      const ask = await connect({ parameters, queryTimeoutMs: 65_000 });
      const snapshots = await connect({ queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS });
      const report = {
        made: 0,
        head: undefined as ManifestsReport['head'],
        trouble: undefined as OutboxError | undefined,
      };
      // what a slot delivered that others have replaced is nobody else's
      const replaced = (await sharesOf(ask, slot)).filter((share) => share.isReplaced && share.slot !== slot);
      for (const each of [slot, ...replaced.map((share) => share.slot)]) {
        const chain = await this.#chainOf(ask, snapshots, clickhouse, each);
        if (chain === undefined) continue;
        const of = await this.#runChain(chain, ask, options);
        report.made += of.made;
        report.trouble ??= of.trouble;
        if (each === slot) report.head = await chain.outbox.find();
      }
      return report;
    } finally {
      await Promise.all([clickhouse.close(), ...opened.map(async (db) => db.close())]);
    }
  }

  /** Undefined while what is delivered is in doubt. */
  async #chainOf(ask: Database, snapshots: Database, clickhouse: ClickHouse, slot: string): Promise<Chain | undefined> {
    const { clickhouseTable, manifestKeyFile } = this.#config;
    const ledger = await overviewOf(ask, slot);
    if (ledger === undefined || ledger.isRepairing || ledger.isReadingBack || ledger.isDetached) return undefined;
    const scope = await scopeOfSlot(ask, slot);
    const table = new TableManifests(clickhouse, clickhouseTable);
    if (!(await table.isThere()))
      throw new OutboxError('OUTBOX_CH_NOT_MIGRATED', {
        detail: `the table "${manifestsOf(clickhouseTable)}" does not exist`,
      });
    const outbox = new OutboxManifests(ask, scope.source);
    const digests = await TableDigests.open(clickhouse, clickhouseTable);
    const key = manifestKeyFile === '' ? undefined : keyIn(manifestKeyFile);
    const dates = await eventTimeOf(clickhouse, clickhouseTable);
    const maker = new Maker({ slot, scope, dates, snapshots, ask, digests, manifests: outbox, key });
    const { epoch } = await holderOf(ask, slot);
    const { rows } = await ask.query<{ hour: number }>(
      'SELECT coalesce(floor(extract(epoch FROM begins_at) / 3600), 0)::float8 AS hour FROM outbox.stream WHERE slot_name = $1',
      [slot],
    );
    return {
      slot,
      epoch,
      source: scope.source,
      part: scope.part,
      maker,
      outbox,
      table,
      digests,
      snapshots,
      begins: rows[0]!.hour,
    };
  }

  async #runChain(
    chain: Chain,
    ask: Database,
    { signal, waitMs = this.#config.flushIntervalMs + 15_000, onMade = () => undefined }: RunOptions,
  ): Promise<Omit<ManifestsReport, 'head'>> {
    await align(chain, signal);
    const to = await this.#closed.until(ask);
    const written = await writtenTo(ask);
    const from = Math.max(chain.begins, await oldestHour(ask));
    const latest = await chain.outbox.latest(from);
    let made = 0;
    let trouble: OutboxError | undefined;
    let isAllDelivered = false;
    const due = this.#due.get(chain.source) ?? new DueHours(chain.source);
    this.#due.set(chain.source, due);
    for (const hour of await due.list(
      { db: chain.snapshots, digests: chain.digests, part: chain.part, latest },
      { from, to },
    )) {
      signal.throwIfAborted();
      const entry = latest.get(hour);
      const former = entry && (await chain.outbox.find(entry.number));
      try {
        const manifest = await chain.maker.make(hour, former).catch(async (error: unknown) => {
          // what is not delivered yet is no fault, and what is meanwhile may agree
          if (!isDiffering(error) || !(await isDelivered(ask, chain.slot, written, waitMs, signal))) throw error;
          isAllDelivered = true;
          return chain.maker.make(hour, former);
        });
        if (manifest === undefined) continue;
        // somebody else goes on with the chain
        if (!(await this.#write(chain, manifest, signal))) break;
        made++;
        onMade(manifest);
      } catch (error) {
        if (!isDiffering(error)) throw error;
        due.again(hour);
        // later hours wait for no more
        if (!isAllDelivered) break;
        trouble ??= error;
      }
    }
    return { made, trouble };
  }

  /** Returns false where another process was first. The head of the chain is in the trace, too: an archive beside both databases. */
  async #write({ slot, epoch, outbox, table }: Chain, manifest: Manifest, signal: AbortSignal): Promise<boolean> {
    const attributes = {
      'outbox.source': manifest.source,
      'outbox.manifest.number': manifest.number,
      'outbox.manifest.hour': isoHour(manifest.hour),
      'outbox.manifest.hash': manifest.hash,
    };
    const span = trace.getTracer(PACKAGE_NAME).startSpan('make manifest', { attributes });
    try {
      return await context.with(trace.setSpan(context.active(), span), async () => {
        if (!(await outbox.add(manifest, slot, epoch))) return false;
        await table.add(manifest, signal);
        return true;
      });
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  }
}

/** Whether what was committed before a position is delivered, within so long. */
async function isDelivered(
  db: Database,
  slot: string,
  lsn: Lsn,
  waitMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const end = performance.now() + waitMs;
  for (;;) {
    if ((await holderOf(db, slot)).reached >= lsn) return true;
    if (performance.now() > end) return false;
    await sleep(POLL_MS, undefined, { signal });
  }
}

function isDiffering(error: unknown): error is OutboxError {
  return error instanceof OutboxError && error.code === 'OUTBOX_MANIFEST_DIFFERS';
}

/** Throws OUTBOX_CONFIG_INVALID. */
function keyIn(path: string): SigningKey {
  try {
    return signingKeyOf(readPem(path));
  } catch {
    const problems = ['OUTBOX_MANIFEST_KEY_FILE must name a private Ed25519 key in PEM, without a passphrase'];
    throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems });
  }
}
