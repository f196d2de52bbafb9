import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { ClickHouseSettings, ExecParams } from '@clickhouse/client';
import { OutboxError } from '../../errors.ts';
import type { ClickHouseAccess } from './access.ts';
import { awayOf, HostRing, isAway, MAX_CONNECTIONS } from './host-ring.ts';
import { linesOf, read, refusalOf, rowsOf, type Answer } from './answer.ts';
import { bodyOf, type Insert } from './body.ts';
import { provenSettings } from './proven-settings.ts';
import {
  limited,
  type Inserting,
  type Limits,
  quorumSettings,
  SELECT_SETTINGS,
  timeLimits,
  STREAM_SETTINGS,
  type Quorum,
} from './settings.ts';
import { traceHeaders } from '../observe/active-span.ts';

/** The server is to say itself that it took too long: its word is definite, a request without an answer is not. */
const ANSWER_MARGIN_MS = 2000;

/** For a client whose SELECTs may work for long: its `timeoutMs`. Meanwhile ClickHouse gives signs of life more often. */
export const LONG_SELECT_MS = 10 * 60_000;

/** An empty answer of somebody else would seem to say that nothing is there. */
const OWN_HEADERS = ['x-clickhouse-query-id', 'x-clickhouse-summary'];

/** The only speaker to ClickHouse: what it throws are OutboxErrors that hold no row, no parameter and no password. */
export class ClickHouse {
  readonly #hosts: HostRing;
  readonly #timeoutMs: number;
  readonly #deadlineMs: number;
  /** How many replicas must have an insert before it counts; undefined for one. */
  readonly quorum: Quorum | undefined;
  readonly #compression: Inserting['compression'];
  #insertSettings: ClickHouseSettings | undefined;

  /**
   * @param access `http(s)://user:password@host:port/database`; several hosts are replicas of one shard, `a:8123,b:8123`
   * @param timeoutMs how long the server may take for one request; it is given up a little later
   */
  constructor(
    access: string | ClickHouseAccess,
    timeoutMs: number,
    { quorum, compression, connections = MAX_CONNECTIONS }: Inserting & { readonly connections?: number } = {},
  ) {
    this.quorum = quorum;
    this.#compression = compression;
    this.#timeoutMs = timeoutMs;
    this.#deadlineMs = timeoutMs + ANSWER_MARGIN_MS;
    this.#hosts = new HostRing(access, this.#deadlineMs, connections);
  }

  /** The server that is asked now. */
  get server(): URL {
    return this.#hosts.server;
  }

  /** How many hosts may be asked. */
  get size(): number {
    return this.#hosts.size;
  }

  /** How often another server has answered than the one before. */
  get turns(): number {
    return this.#hosts.turns;
  }

  /** Hosts that were away when they were last asked, and what each answered. */
  get away(): ReadonlyMap<string, OutboxError> {
    return this.#hosts.away;
  }

  /** It cannot answer: the next request goes to the next host. */
  leave(server: URL, why?: OutboxError): void {
    this.#hosts.leave(server, why);
    this.#insertSettings = undefined;
  }

  /** Rows of a SELECT. Throws OutboxErrors OUTBOX_CH_*. */
  async select<Row>(query: string, parameters: Record<string, unknown> = {}, signal?: AbortSignal): Promise<Row[]> {
    return this.#select(query, parameters, SELECT_SETTINGS, signal);
  }

  /** The same within limits, for a question of a person: to abort it ends it in the server, too. Throws OUTBOX_CH_* beyond them. */
  async selectWithin<Row>(
    limits: Limits,
    query: string,
    parameters: Record<string, unknown>,
    signal: AbortSignal,
  ): Promise<Row[]> {
    return this.#select(query, parameters, limited(limits), signal);
  }

  async #select<Row>(
    query: string,
    query_params: Record<string, unknown>,
    clickhouse_settings: ClickHouseSettings,
    signal: AbortSignal | undefined,
  ): Promise<Row[]> {
    return this.#ofAnyHost(signal, async (abort_signal) => {
      const { body } = await this.#request('question', {
        query: unlike(query),
        query_params,
        // an exception is an HTTP error, and not the end of a body
        clickhouse_settings: { ...clickhouse_settings, wait_end_of_query: 1 },
        abort_signal,
      });
      return rowsOf<Row>((await read(body, abort_signal)).toString('utf8').split('\n'));
    });
  }

  /** Sends a request, and returns its answer when that is no refusal. */
  async #request(
    kind: 'insert' | 'question',
    parameters: (ExecParams | (ExecParams & { readonly values: Readable })) & { readonly abort_signal: AbortSignal },
  ): Promise<Answer & { readonly writtenRows: number }> {
    const { stream, summary, response_headers, http_status_code } = await this.#hosts.client.exec({
      ...parameters,
      ignore_error_response: true,
    });
    this.#hosts.answered(response_headers['x-clickhouse-server-display-name']);
    const status = http_status_code ?? 0;
    const answer = { status, headers: response_headers, body: stream };
    const isRefused = status < 200 || status > 299 || response_headers['x-clickhouse-exception-code'] !== undefined;
    if (isRefused) throw await refusalOf(answer, kind, parameters.abort_signal);
    if (OWN_HEADERS.every((name) => response_headers[name] === undefined)) {
      stream.destroy();
      throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `HTTP status ${status} without a header of ClickHouse’s` });
    }
    return { ...answer, writtenRows: Number(summary?.written_rows ?? -1) };
  }

  /**
   * Rows of a SELECT that may take long and be large, as they come, in chunks of some hundred. Silence may last as long as
   * one request, the whole longer. To stop iterating ends the query. Throws OutboxErrors OUTBOX_CH_*.
   */
  async *stream<Row>(
    query: string,
    parameters: Record<string, unknown> = {},
    signal?: AbortSignal,
  ): AsyncGenerator<Row[], void, undefined> {
    const over = new AbortController();
    this.#hosts.renew();
    const { server } = this;
    const abort_signal = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
    try {
      signal?.throwIfAborted();
      const { body } = await this.#request('question', {
        query: unlike(query),
        query_params: parameters,
        clickhouse_settings: STREAM_SETTINGS,
        abort_signal,
      });
      for await (const lines of linesOf(body, abort_signal)) yield rowsOf<Row>(lines);
    } catch (error) {
      const failure = awayOf(error, undefined);
      if (isAway(failure)) this.leave(server, failure);
      throw failure;
    } finally {
      over.abort();
    }
  }

  /** Runs a statement that returns nothing. @param own settings beside those of every one. Throws OutboxErrors OUTBOX_CH_*. */
  async command(query: string, parameters: Record<string, unknown> = {}, own: ClickHouseSettings = {}): Promise<void> {
    await this.#ofAnyHost(undefined, async (abort_signal) => {
      const clickhouse_settings = {
        ...own,
        wait_end_of_query: 1 as const,
        data_type_default_nullable: 0 as const,
      };
      const request = { query, query_params: parameters, clickhouse_settings, abort_signal };
      const { body } = await this.#request('question', request);
      await read(body, abort_signal);
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

  /** Throws OUTBOX_CH_SETTINGS_DROPPED where settings of an insert would not arrive: what was sent before may have had no token. */
  async proveSettings(signal?: AbortSignal): Promise<void> {
    this.#insertSettings = await this.#knownSettings(signal);
  }

  /**
   * Inserts nothing, with all the settings that are sent with an insert: throws, as an OutboxError OUTBOX_CH_*, what would refuse every one
   * of them. @param query as in `Insert` @param timeoutMs that of the inserts, where this client asks with another one
   */
  async insertNothing(
    query: string,
    parameters: Record<string, string>,
    signal?: AbortSignal,
    timeoutMs = this.#timeoutMs,
  ): Promise<void> {
    const settings = await this.#knownSettings(signal);
    await this.#guarded(signal, async (abort_signal) => {
      const { body } = await this.#request('insert', {
        query,
        query_params: parameters,
        ...bodyOf([], this.#compression, abort_signal),
        clickhouse_settings: { ...settings, ...timeLimits(timeoutMs), insert_deduplication_token: randomUUID() },
        abort_signal,
      });
      await read(body, abort_signal);
    });
  }

  async #send(insert: Insert, settings: ClickHouseSettings, signal: AbortSignal): Promise<void> {
    await this.#guarded(signal, async (abort_signal) => {
      const { body, writtenRows } = await this.#request('insert', {
        query: insert.query,
        query_params: insert.parameters,
        query_id: insert.queryId,
        ...bodyOf(insert.body, this.#compression, abort_signal, traceHeaders()),
        clickhouse_settings: {
          ...settings,
          ...timeLimits(this.#timeoutMs),
          insert_deduplication_token: insert.token,
        },
        abort_signal,
      });
      const unexpected = (await read(body, abort_signal)).length;
      if (unexpected > 0)
        throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `ClickHouse answered an insert with ${unexpected} bytes` });
      // rows of materialized views are counted too
      if (!(writtenRows >= insert.rows)) {
        throw new OutboxError('OUTBOX_CH_ANSWER', {
          detail: `ClickHouse says that it wrote ${writtenRows} of ${insert.rows} rows`,
        });
      }
    });
  }

  async #knownSettings(signal: AbortSignal | undefined): Promise<ClickHouseSettings> {
    return provenSettings(
      async (query, names, settings) => this.#select(query, { names }, { ...SELECT_SETTINGS, ...settings }, signal),
      this.quorum && quorumSettings(this.quorum, this.#timeoutMs),
    );
  }

  async close(): Promise<void> {
    await this.#hosts.close();
  }

  /** A question, or what may be done twice: each host is asked before it fails for want of one. */
  async #ofAnyHost<T>(signal: AbortSignal | undefined, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (let others = this.#hosts.size - 1; ; others--) {
      try {
        return await this.#guarded(signal, request);
      } catch (error) {
        if (others === 0 || !(error instanceof OutboxError) || !isAway(error)) throw error;
      }
    }
  }

  async #guarded<T>(signal: AbortSignal | undefined, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const timeout = AbortSignal.timeout(this.#deadlineMs);
    this.#hosts.renew();
    const { server } = this;
    try {
      const answer = await request(signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
      this.#hosts.reached(server);
      return answer;
    } catch (error) {
      const failure = awayOf(error, timeout.aborted ? this.#deadlineMs : undefined);
      if (isAway(failure)) this.leave(server, failure);
      throw failure;
    }
  }
}

/** A SELECT that no other is like: what a proxy keeps of an earlier answer is none. */
function unlike(query: string): string {
  return `/* ${randomUUID()} */ ${query} FORMAT JSONEachRow`;
}
