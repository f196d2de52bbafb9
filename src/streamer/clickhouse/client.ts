import { Readable } from 'node:stream';
import {
  ClickHouseError,
  ClickHouseLogLevel,
  createClient,
  type ClickHouseClient,
  type ClickHouseSettings,
} from '@clickhouse/client';
import { OutboxError } from '../../errors.ts';
import { PACKAGE_NAME } from '../../package.ts';
import { refusal } from './refusal.ts';
import { traceHeaders } from '../observe/active-span.ts';

/** One INSERT. Every repetition must be given the same body, token and row count. */
export interface Insert {
  /** `INSERT INTO … FORMAT …`, without data. */
  readonly query: string;
  readonly parameters: Record<string, string>;
  readonly body: Iterable<Buffer>;
  readonly rows: number;
  readonly token: string;
  readonly queryId: string;
}

/**
 * What decides how rows become blocks, and whether repetitions are recognised, is sent with every insert: defaults changed
 * between versions of ClickHouse, and a user's profile may have its own.
 */
const INSERT_SETTINGS: ClickHouseSettings = {
  async_insert: 0,
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  materialized_views_ignore_errors: 0,
  max_insert_block_size: '1048449',
  min_insert_block_size_rows: '1048449',
  min_insert_block_size_bytes: '268402944',
  input_format_try_infer_dates: 0,
  input_format_try_infer_datetimes: 0,
  // the status line waits for the end, so an exception is an HTTP error and not a body behind a 200
  wait_end_of_query: 1,
  timeout_overflow_mode: 'throw',
};

/** The same, for settings that only newer servers know; an older one would refuse the insert. */
const NEWER_INSERT_SETTINGS: Readonly<Record<string, string>> = {
  // overrides insert_deduplicate where it exists
  deduplicate_insert: 'enable',
  use_strict_insert_block_limits: '0',
  max_insert_block_size_bytes: '0',
};

/** The server is to say itself that it took too long: its word is definite, a request without an answer is not. */
const ANSWER_MARGIN_MS = 2000;

/** For a client whose SELECTs may work for long: its `timeoutMs`. Meanwhile ClickHouse gives signs of life more often. */
export const LONG_SELECT_MS = 10 * 60_000;

/** Of long SELECTs: their memory in the server is bounded, and the socket is not silent while they work. */
const STREAM_SETTINGS: ClickHouseSettings = {
  max_execution_time: 0,
  max_query_size: '67108864',
  max_bytes_before_external_sort: '268435456',
  max_bytes_before_external_group_by: '268435456',
  send_progress_in_http_headers: 1,
  http_headers_progress_interval_ms: '60000',
  cancel_http_readonly_queries_on_client_close: 1,
};

/** A request of its own may be under way beside an insert. */
const MAX_CONNECTIONS = 2;

/** The only speaker to ClickHouse: what it throws are OutboxErrors that hold no row, no parameter and no password. */
export class ClickHouse {
  readonly #client: ClickHouseClient;
  readonly #timeoutMs: number;
  readonly #deadlineMs: number;
  #insertSettings: ClickHouseSettings | undefined;

  /**
   * @param url `http(s)://user:password@host:port/database`
   * @param timeoutMs how long the server may take for one request; it is given up a little later
   */
  constructor(url: string, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#deadlineMs = timeoutMs + ANSWER_MARGIN_MS;
    const server = new URL(url);
    const database = decodeURIComponent(server.pathname.slice(1));
    // the client would take the path as it stands, percent signs and all
    server.pathname = '';
    this.#client = createClient({
      url: server,
      database,
      application: PACKAGE_NAME,
      request_timeout: this.#deadlineMs,
      max_open_connections: MAX_CONNECTIONS,
      keep_alive: { enabled: true, eagerly_destroy_stale_sockets: true },
      compression: { request: false, response: false },
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /** Rows of a SELECT. Throws OutboxErrors OUTBOX_CH_*. */
  async select<Row>(query: string, parameters: Record<string, unknown> = {}, signal?: AbortSignal): Promise<Row[]> {
    return this.#guarded(signal, async (abort_signal) => {
      const result = await this.#client.query({ query, query_params: parameters, format: 'JSONEachRow', abort_signal });
      return result.json<Row>();
    });
  }

  /**
   * Rows of a SELECT that may take long and be large, as they come, in chunks of some hundred. Silence may last as long as
   * one request, the whole longer. To stop iterating ends the query. Throws OutboxErrors OUTBOX_CH_*.
   */
  async *stream<Row>(query: string, parameters: Record<string, unknown> = {}): AsyncGenerator<Row[], void, undefined> {
    const over = new AbortController();
    try {
      const result = await this.#client.query({
        query,
        query_params: parameters,
        format: 'JSONEachRow',
        clickhouse_settings: STREAM_SETTINGS,
        abort_signal: over.signal,
      });
      for await (const rows of result.stream<Row>()) yield rows.map((row) => row.json());
    } catch (error) {
      throw this.#failure(error, false);
    } finally {
      over.abort();
    }
  }

  /** Runs a statement that returns nothing. Throws OutboxErrors OUTBOX_CH_*. */
  async command(query: string, parameters: Record<string, string> = {}): Promise<void> {
    await this.#guarded(undefined, async (abort_signal) => {
      const clickhouse_settings = { wait_end_of_query: 1 as const };
      await this.#client.command({ query, query_params: parameters, clickhouse_settings, abort_signal });
    });
  }

  /**
   * Sends one INSERT and returns when ClickHouse has said, beyond doubt, that all rows are in the table. Anything else is
   * thrown as an OutboxError OUTBOX_CH_*, and its outcome is unknown: even an aborted insert may still be committed.
   */
  async insert(insert: Insert, signal: AbortSignal): Promise<void> {
    const settings = (this.#insertSettings ??= await this.#knownSettings(signal));
    try {
      await this.#send(insert, settings, signal);
    } catch (error) {
      // the next attempt may reach another server
      this.#insertSettings = undefined;
      throw error;
    }
  }

  async #send(insert: Insert, settings: ClickHouseSettings, signal: AbortSignal): Promise<void> {
    await this.#guarded(signal, async (abort_signal) => {
      const { stream, summary } = await this.#client.exec({
        query: insert.query,
        query_params: insert.parameters,
        values: Readable.from(insert.body, { objectMode: false }),
        query_id: insert.queryId,
        http_headers: traceHeaders(),
        clickhouse_settings: {
          ...settings,
          insert_deduplication_token: insert.token,
          max_execution_time: Math.ceil(this.#timeoutMs / 1000),
          http_receive_timeout: Math.ceil(this.#timeoutMs / 1000),
        },
        abort_signal,
      });
      const unexpected = await length(stream, abort_signal);
      if (unexpected > 0)
        throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `ClickHouse answered an insert with ${unexpected} bytes` });
      const written = Number(summary?.written_rows ?? -1);
      // rows of materialized views are counted too
      if (!(written >= insert.rows)) {
        throw new OutboxError('OUTBOX_CH_ANSWER', {
          detail: `ClickHouse says that it wrote ${written} of ${insert.rows} rows`,
        });
      }
    });
  }

  async #knownSettings(signal: AbortSignal): Promise<ClickHouseSettings> {
    const names = Object.keys(NEWER_INSERT_SETTINGS);
    const question = 'SELECT name FROM system.settings WHERE name IN {names:Array(String)}';
    const known = await this.select<{ name: string }>(question, { names }, signal);
    return { ...INSERT_SETTINGS, ...Object.fromEntries(known.map(({ name }) => [name, NEWER_INSERT_SETTINGS[name]])) };
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #guarded<T>(signal: AbortSignal | undefined, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(this.#deadlineMs);
    try {
      return await request(signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
    } catch (error) {
      throw this.#failure(error, timeout.aborted);
    }
  }

  #failure(error: unknown, isTimeout: boolean): OutboxError {
    if (error instanceof OutboxError) return error;
    if (error instanceof ClickHouseError) return refusal(Number(error.code), error.type ?? '', error.message);
    if (error instanceof SyntaxError)
      return new OutboxError('OUTBOX_CH_ANSWER', { detail: 'ClickHouse’s answer is not the JSON that was asked for' });
    const detail = isTimeout
      ? `no answer from ClickHouse within ${this.#deadlineMs} ms`
      : `no connection to ClickHouse: ${reason(error)}`;
    return new OutboxError('OUTBOX_CH_UNREACHABLE', { detail });
  }
}

async function length(stream: Readable, signal: AbortSignal): Promise<number> {
  const abort = (): void => void stream.destroy(new Error('aborted'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    let bytes = 0;
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    return bytes;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A network error's code says enough; its message may hold the URL. */
function reason(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : error instanceof Error ? error.name : 'unknown error';
}
