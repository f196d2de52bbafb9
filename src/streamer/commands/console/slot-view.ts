import type { Logger } from '../../observe/log.ts';
import { mayIdle } from '../../clickhouse/idling.ts';
import { FlowReporter } from '../status/reporter.ts';
import type { Config } from '../../config.ts';
import { overviewOf } from '../../ledger/overview.ts';
import type { ChartRange, Charts, Flow } from './api.ts';
import { ChartReader, RANGES, windowFrom, type FromTable } from './charts.ts';
import { LIMITS, withinLimits } from './limits.ts';
import type { Questions } from './questions.ts';
import { Samples } from './samples.ts';
import { Shared } from './shared.ts';
import type { Source } from './source.ts';
import { failureOf, told } from './told.ts';

/** Pages ask every 5 s. */
const FLOW_MS = 4000;
const SAMPLE_MS = 60_000;
const DEADLINE_MS = 3000;

type Table = Flow['table'];

/** What pages show of one slot, asked once for all of them. */
export class SlotView {
  readonly config: Config;
  readonly #source: Source;
  readonly #clickhouse: Questions;
  readonly #log: Logger;
  readonly #reporter: FlowReporter;
  readonly #flow = new Shared(FLOW_MS, async () => this.#askFlow());
  readonly #samples = new Samples();
  readonly #timer: NodeJS.Timeout;
  readonly #charts: Readonly<Record<ChartRange, Shared<FromTable>>>;
  /** Of the ledger, as ClickHouse's column has it; empty until it was read. */
  #name = '';
  #written: { readonly rows: number; readonly atMs: number } | undefined;

  constructor(config: Config, source: Source, clickhouse: Questions, log: Logger) {
    this.config = config;
    this.#source = source;
    this.#clickhouse = clickhouse;
    this.#log = log;
    this.#reporter = new FlowReporter(config, () => undefined);
    const chart = (range: ChartRange): Shared<FromTable> => {
      const reader = new ChartReader(RANGES[range], clickhouse, config.clickhouseTable);
      return new Shared(RANGES[range].everyMs, async () => this.#askCharts(reader));
    };
    this.#charts = { hour: chart('hour'), day: chart('day'), week: chart('week') };
    this.#timer = setInterval(() => void this.#sample(), SAMPLE_MS).unref();
    void this.#sample();
  }

  /** Never throws for what the databases say. */
  async flow(): Promise<Flow> {
    return this.#flow.get();
  }

  /** Never throws for what the databases say. */
  async charts(range: ChartRange): Promise<Charts> {
    const { stepSeconds, steps } = RANGES[range];
    const sampled = (from: number): Pick<Charts, 'parts' | 'keptBytes'> =>
      this.#samples.series(from, stepSeconds, steps);
    try {
      const answer = await this.#charts[range].get();
      return { range, stepSeconds, steps, ...answer, ...sampled(answer.from), failure: null };
    } catch (error) {
      const from = windowFrom(RANGES[range], Date.now());
      const nothing = { types: [], p50: [], p99: [], rowsPerInsert: [], sql: [] };
      const failure = failureOf(this.config.schema, withinLimits(error));
      return { range, from, stepSeconds, steps, ...nothing, ...sampled(from), failure };
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#reporter.close();
  }

  async #askFlow(): Promise<Flow> {
    const [report, table, outbox] = await Promise.all([
      this.#reporter.report(),
      this.#orNull(this.#askTable()),
      this.#orNull(this.#askOutbox()),
    ]);
    return {
      report,
      told: [
        ...report.reasons.map((reason) => ({ ...told(this.config.schema, reason), isWarning: false })),
        ...report.warnings.map((reason) => ({ ...told(this.config.schema, reason), isWarning: true })),
      ],
      writtenPerSecond: this.#rateOf(outbox?.written),
      keptBytes: outbox?.kept ?? null,
      table,
    };
  }

  #rateOf(rows: number | undefined): number | null {
    const before = this.#written;
    this.#written = rows === undefined ? undefined : { rows, atMs: performance.now() };
    if (before === undefined || this.#written === undefined) return null;
    // the server forgets what it counted after a crash
    const more = this.#written.rows - before.rows;
    return more < 0 ? null : Math.round((1000 * more) / (this.#written.atMs - before.atMs));
  }

  /** Throws OUTBOX_PG_* until the ledger was read once. */
  async #askCharts(reader: ChartReader): Promise<FromTable> {
    if (this.#name === '') this.#name = await this.#askSource();
    // a chart is for all who look, whoever asked for it first; it may wait for a place before
    return reader.read(this.#name, Date.now(), AbortSignal.timeout(2 * LIMITS.seconds * 1000 + DEADLINE_MS));
  }

  async #askSource(): Promise<string> {
    return (await this.#source.ask(async (db) => overviewOf(db, this.config.slot)))?.source ?? '';
  }

  async #askTable(): Promise<Table> {
    const [row] = await this.#clickhouse.selectWithin<Record<'parts' | 'most' | 'rows' | 'bytes', string>>(
      LIMITS,
      `SELECT toString(sum(n)) AS parts, toString(max(n)) AS most, toString(sum(r)) AS rows, toString(sum(b)) AS bytes FROM
         (SELECT count() AS n, sum(rows) AS r, sum(bytes_on_disk) AS b FROM system.parts
           WHERE active AND database = currentDatabase() AND table = {table:String} GROUP BY partition_id)`,
      { table: this.config.clickhouseTable },
      AbortSignal.timeout(DEADLINE_MS),
    );
    if (row === undefined) return null;
    return { parts: Number(row.parts), mostParts: Number(row.most), rows: Number(row.rows), bytes: Number(row.bytes) };
  }

  async #askOutbox(): Promise<{ written: number; kept: number | null } | undefined> {
    const [row] = await this.#source.query<{ written: number; kept: number | null }>(
      `SELECT (SELECT coalesce(sum(n_tup_ins), 0)::float8 FROM pg_stat_all_tables
                WHERE relid IN (SELECT relid FROM pg_partition_tree('outbox.event') WHERE isleaf)) AS written,
              (SELECT (pg_current_wal_lsn() - restart_lsn)::float8 FROM pg_replication_slots WHERE slot_name = $1) AS kept`,
      [this.config.slot],
    );
    return row;
  }

  async #sample(): Promise<void> {
    // a service that idles is not woken for a chart
    const [outbox, table] = await Promise.all([
      this.#orNull(this.#askOutbox()),
      mayIdle(this.config) ? null : this.#orNull(this.#askTable()),
    ]);
    this.#samples.add(Date.now(), { keptBytes: outbox?.kept ?? null, parts: table?.parts ?? null });
  }

  /** What is not known is shown so; why, the report says. */
  async #orNull<T>(question: Promise<T>): Promise<T | null> {
    try {
      return await question;
    } catch (error) {
      this.#log.debug({ err: error }, 'a question of the console has no answer');
      return null;
    }
  }
}
