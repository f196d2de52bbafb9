import { Proxy } from '../support/proxy.ts';
import { Streamer, type LogLine } from '../support/streamer.ts';
import type { Dice } from './dice.ts';
import type { Journal } from './journal.ts';

/** The insert's timeout, in ms, and the longest that a stop may take. */
const INSERT_TIMEOUTS = ['2000', '3000', '5000'];
const SHUTDOWN_TIMEOUT_MS = 5000;
/** Streamers whose logs are kept. */
const KEPT = 100;
const ROWS = ['50', '73', '200', '1000', '200000'];
const BYTES = [64, 256, 1024, 65_536].map((kibibytes) => String(kibibytes * 1024));
const FLUSH_INTERVALS = ['10', '50', '200', '700'];

/**
 * What faults of this suite explain at any time, beside what some explain while they last (`Fault.codes`): it must pass by
 * itself. With any other code the stream would be lost, doubled or stuck.
 */
const EXPLAINED: ReadonlySet<string> = new Set([
  'OUTBOX_PG_UNREACHABLE',
  'OUTBOX_PG_FAILED',
  'OUTBOX_SLOT_BUSY',
  'OUTBOX_EPOCH_LOST',
  'OUTBOX_CH_UNREACHABLE',
  'OUTBOX_CH_UNAVAILABLE',
  'OUTBOX_CH_ANSWER',
  'OUTBOX_CH_FAILED',
  // proxies that answer by themselves, and a table that seems to refuse every row
  'OUTBOX_CH_PROXY',
  'OUTBOX_CH_ROW_REFUSED',
  'OUTBOX_CH_REFUSED',
  // three answers of 241 to an insert that was applied all the same
  'OUTBOX_CH_VIEW_FAILED',
  'OUTBOX_SHUTDOWN_TIMEOUT',
]);

export interface HostOptions {
  readonly name: string;
  readonly postgresUrl: URL;
  readonly clickhouseUrl: URL;
  readonly cli: string | undefined;
  readonly journal: Journal;
}

/** Where a streamer runs: a process, and a link of its own to each database. */
export class Host {
  readonly postgres: Proxy;
  readonly clickhouse: Proxy;
  readonly #options: HostOptions;
  readonly #environment: Record<string, string>;
  #streamer: Streamer | undefined;
  /** The last ones that ran here. */
  readonly streamers: Streamer[] = [];
  /** How many ran here. */
  started = 0;
  #isEnding = false;
  /** Lines of the streamer's log. */
  #judged = 0;

  private constructor(options: HostOptions, postgres: Proxy, clickhouse: Proxy, environment: Record<string, string>) {
    this.#options = options;
    this.postgres = postgres;
    this.clickhouse = clickhouse;
    this.#environment = environment;
  }

  static async create(options: HostOptions): Promise<Host> {
    const { proxy: postgres, url: databaseUrl } = await Proxy.to(options.postgresUrl);
    const { proxy: clickhouse, url: clickhouseUrl } = await Proxy.to(options.clickhouseUrl);
    return new Host(options, postgres, clickhouse, {
      DATABASE_URL: databaseUrl,
      CLICKHOUSE_URL: clickhouseUrl,
      OUTBOX_RETRY_MAX_MS: '500',
      OUTBOX_SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_TIMEOUT_MS),
    });
  }

  get streamer(): Streamer {
    if (this.#streamer === undefined) throw new Error(`no streamer has run on ${this.#options.name}`);
    return this.#streamer;
  }

  get isRunning(): boolean {
    return this.#streamer?.isRunning === true;
  }

  /** Starts a streamer, with limits that its predecessor may not have had. */
  start(dice: Dice): void {
    const limits = {
      OUTBOX_BATCH_MAX_ROWS: dice.pick(ROWS),
      OUTBOX_BATCH_MAX_BYTES: dice.pick(BYTES),
      OUTBOX_FLUSH_INTERVAL_MS: dice.pick(FLUSH_INTERVALS),
      OUTBOX_INSERT_TIMEOUT_MS: dice.pick(INSERT_TIMEOUTS),
    };
    this.judge();
    const streamer = new Streamer({ ...this.#environment, ...limits }, this.#options.cli);
    this.#streamer = streamer;
    this.started++;
    this.streamers.push(streamer);
    if (this.streamers.length > KEPT) this.streamers.shift();
    this.#isEnding = false;
    this.#judged = 0;
    this.#options.journal.note(`${this.#options.name}: start ${streamer.pid} ${Object.values(limits).join(' ')}`);
    void this.#await(streamer);
  }

  async kill(): Promise<void> {
    this.#isEnding = true;
    await this.#streamer?.kill();
  }

  /** A graceful stop, which may fail to deliver but must end. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    const { streamer } = this;
    // a deadline: what ends in time does not wait for it
    const overdue = setTimeout(() => {
      this.#options.journal.violate(`SIGTERM did not end the streamer:\n${streamer.output.slice(-2000)}`);
      streamer.signal('SIGKILL');
    }, SHUTDOWN_TIMEOUT_MS + 5000);
    await streamer.stop();
    clearTimeout(overdue);
  }

  /** Everything passes. */
  heal(): void {
    for (const link of [this.postgres, this.clickhouse]) link.release();
    this.#streamer?.signal('SIGCONT');
  }

  async close(): Promise<void> {
    this.#streamer?.signal('SIGCONT');
    await this.kill();
    await this.postgres.close();
    await this.clickhouse.close();
  }

  async #await(streamer: Streamer): Promise<void> {
    const { journal, name } = this.#options;
    const code = await streamer.exited();
    journal.note(`${name}: end ${streamer.pid} (${code})`);
    if (this.#streamer !== streamer) return;
    this.judge();
    if (!this.#isEnding)
      journal.violate(`the streamer ended by itself, exit code ${code}:\n${streamer.output.slice(-2000)}`);
  }

  /** Looks for errors that cannot be explained, in what was logged since the last time. */
  judge(): void {
    const streamer = this.#streamer;
    if (streamer === undefined) return;
    for (const line of streamer.logs.slice(this.#judged)) {
      const what = unexplained(line, this.#options.journal);
      if (what !== undefined) this.#options.journal.violate(`a streamer says ${what}`);
    }
    this.#judged = streamer.logs.length;
  }
}

function unexplained({ err, msg, time }: LogLine, journal: Journal): string | undefined {
  if (err === undefined) return undefined;
  const at = Date.parse(time as string);
  if (err.code !== undefined && (EXPLAINED.has(err.code) || journal.isExplained(err.code, at))) return undefined;
  return `${msg}: ${err.code ?? 'an error without a code'}: ${err.message}`;
}
