import { DEFAULT_SCHEMA } from '../../../schema-name.ts';
import { ClickHouse } from '../../clickhouse/client.ts';
import { examine } from '../doctor/examine.ts';
import { effectiveSettings, type Config, type ConsoleConfig } from '../../config.ts';
import { overviews } from '../../ledger/overview.ts';
import type { Logger } from '../../observe/log.ts';
import { databaseUrlOf } from '../../source/hosts.ts';
import type { Changed, ChartRange, Health, Session } from './api.ts';
import { RANGES } from './charts.ts';
import { eventOf, keyOf } from './event.ts';
import { Refusal } from './guard.ts';
import { LIMITS } from './limits.ts';
import { rolesReadOnly } from './may-change.ts';
import { Places } from './places.ts';
import { change, idsOf, quarantinedEvent, quarantineOf } from './quarantine.ts';
import { Questions } from './questions.ts';
import { malformed, search, wantedOf } from './search.ts';
import { Shared } from './shared.ts';
import { SlotView } from './slot-view.ts';
import { Source } from './source.ts';
import { Verifier } from './verification.ts';

const ROLES_MS = 60_000;
const SLOTS_MS = 10_000;
const HEALTH_MS = 10_000;
/** Of one database. Each keeps some samples. */
const MAX_SLOTS = 64;
const LOGGED_IDS = 100;
/** Questions under way at once: of readers, and of what the pages show. */
const PLACES = 4;
/** Findings about the privileges of a streamer's role, which the console's is not where it may only read. */
const OF_STREAMERS = ['postgres.replication', 'postgres.privileges', 'postgres.partitions', 'clickhouse.privileges'];

/** What a route is asked with. */
export interface Request {
  readonly query: URLSearchParams;
  /** Of a POST: what its JSON says. */
  readonly body: unknown;
  /** Aborted when the reader leaves. */
  readonly signal: AbortSignal;
  readonly address: string;
}

/** Returns what is answered as JSON. Throws OutboxErrors; a Refusal names its HTTP status. */
export type Route = (request: Request) => Promise<unknown>;

export interface ConsoleOptions {
  readonly config: Config;
  readonly settings: ConsoleConfig;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Logger;
  readonly version: string;
}

/** What the pages ask, by method and path. */
export class Routes {
  readonly #options: ConsoleOptions;
  readonly #source: Source;
  readonly #clickhouse: ClickHouse;
  /** What readers ask for must not be in the way of what all pages show. */
  readonly #ofReaders: Questions;
  readonly #ofPages: Questions;
  readonly #verifier = new Verifier();
  readonly #views = new Map<string, SlotView>();
  readonly #roles: Shared<string | null>;
  readonly #slots: Shared<readonly string[]>;
  readonly #health: Shared<Health>;

  constructor(options: ConsoleOptions) {
    const { config } = options;
    this.#options = options;
    this.#source = new Source(config);
    this.#clickhouse = new ClickHouse(config, LIMITS.seconds * 1000, { connections: 2 * PLACES + 1 });
    this.#ofReaders = new Questions(this.#clickhouse, new Places(PLACES, LIMITS.seconds * 1000));
    this.#ofPages = new Questions(this.#clickhouse, new Places(PLACES, LIMITS.seconds * 1000));
    this.#roles = new Shared(ROLES_MS, async () => rolesReadOnly(this.#source, this.#clickhouse, config));
    this.#slots = new Shared(SLOTS_MS, async () => {
      const found = (await this.#source.ask(async (db) => overviews(db))).map(({ slot }) => slot);
      return [...new Set([config.slot, ...found])].slice(0, MAX_SLOTS);
    });
    this.#health = new Shared(HEALTH_MS, async () => this.#examine());
    this.#viewOf(config.slot);
  }

  get table(): Readonly<Record<string, Route>> {
    const { config, settings } = this.#options;
    const payloads = settings.consolePayloads === 'on';
    return {
      'GET /api/session': async () => this.#session(),
      'GET /api/flow': async ({ query }) => (await this.#view(query)).flow(),
      'GET /api/charts': async ({ query }) => (await this.#view(query)).charts(rangeOf(query)),
      'GET /api/events': async ({ query, signal }) =>
        search(this.#ofReaders, config.clickhouseTable, wantedOf(query), payloads, signal),
      'GET /api/event': async ({ query, signal }) =>
        (await eventOf(this.#ofReaders, config.clickhouseTable, keyOf(query), payloads, signal)) ?? absent('event'),
      'GET /api/quarantine': async ({ query }) => quarantineOf(this.#source, (await this.#view(query)).config.slot),
      'GET /api/quarantine/event': async ({ query }) => {
        const { slot } = (await this.#view(query)).config;
        return (
          (await quarantinedEvent(this.#source, slot, query.get('id') ?? '', payloads)) ?? absent('event in quarantine')
        );
      },
      'POST /api/quarantine/retry': async (request) => this.#change('retry', request),
      'POST /api/quarantine/discard': async (request) => this.#change('discard', request),
      'GET /api/health': async () => this.#health.get(),
      'GET /api/settings': async () => effectiveSettings(this.#options.env),
      'GET /api/verify': async () => this.#verifier.runs,
      'POST /api/verify': async ({ query }) => {
        this.#verifier.start((await this.#view(query)).config, query.get('from') ?? '');
        return this.#verifier.runs;
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all([
      this.#source.close(),
      this.#clickhouse.close(),
      ...[...this.#views.values()].map((view) => view.close()),
    ]);
  }

  async #session(): Promise<Session> {
    const { config, settings, version } = this.#options;
    const database = decodeURIComponent(databaseUrlOf(config.databaseUrl).url.pathname.slice(1));
    return {
      version,
      database: config.schema === DEFAULT_SCHEMA ? database : `${database}, ${config.schema}`,
      table: config.clickhouseTable,
      slot: config.slot,
      slots: await this.#slots.get().catch(() => [config.slot]),
      payloads: settings.consolePayloads === 'on',
      readOnly: await this.#readOnly(),
      traceUrl: settings.consoleTraceUrl,
    };
  }

  async #readOnly(): Promise<string | null> {
    if (this.#options.settings.consoleToken === '') return 'OUTBOX_CONSOLE_TOKEN is not set';
    try {
      return await this.#roles.get();
    } catch {
      return 'Postgres does not say what this console’s role may do';
    }
  }

  async #change(action: 'retry' | 'discard', { query, body, address }: Request): Promise<Changed> {
    const readOnly = await this.#readOnly();
    if (readOnly !== null) throw new Refusal(403, 'OUTBOX_CONSOLE_READ_ONLY', readOnly);
    const ids = idsOf(body);
    const { config } = await this.#view(query);
    const { slot } = config;
    const what = { address, action, slot, events: ids.length, ids: ids.slice(0, LOGGED_IDS) };
    const { log } = this.#options;
    log.info(what, 'a reader of the console changes the quarantine');
    const changed = await change(config, action, ids);
    log.info({ ...what, outcome: changed.outcome }, 'a reader of the console changed the quarantine');
    return changed;
  }

  async #examine(): Promise<Health> {
    const { config, env } = this.#options;
    const mayOnlyRead = (await this.#roles.get().catch(() => null)) !== null;
    const { findings } = await examine(config, env, () => undefined);
    const left = mayOnlyRead ? OF_STREAMERS : [];
    const shown = findings.filter(({ id }) => !left.includes(id));
    const count = (wanted: string): number => shown.filter(({ level }) => level === wanted).length;
    return { at: new Date().toISOString(), errors: count('error'), warnings: count('warning'), findings: shown, left };
  }

  /** Of the slot that is asked for. Throws a Refusal for one that the ledger does not have. */
  async #view(query: URLSearchParams): Promise<SlotView> {
    const slot = query.get('slot') ?? this.#options.config.slot;
    if (slot !== this.#options.config.slot && !(await this.#slots.get()).includes(slot)) absent('slot');
    return this.#viewOf(slot);
  }

  #viewOf(slot: string): SlotView {
    const { config, log } = this.#options;
    let view = this.#views.get(slot);
    if (view === undefined) {
      // URLs that come from files are read again each time, by the prototype
      const own = Object.create(config, { slot: { value: slot, enumerable: true } }) as Config;
      view = new SlotView(own, this.#source, this.#ofPages, log);
      this.#views.set(slot, view);
    }
    return view;
  }
}

function absent(what: string): never {
  throw new Refusal(404, 'OUTBOX_CONSOLE_REQUEST', `there is no such ${what}`);
}

function rangeOf(query: URLSearchParams): ChartRange {
  const range = query.get('range') ?? 'hour';
  if (!Object.hasOwn(RANGES, range)) throw malformed(`range is ${Object.keys(RANGES).join(', ')}`);
  return range as ChartRange;
}
