import type { Socket } from 'node:net';
import type pg from 'pg';
import { OutboxError } from '../../errors.ts';
import type { Lsn } from '../../lsn.ts';
import { publicationOf } from '../share.ts';
import type { Measures, PauseReason } from '../observe/measures.ts';
import { accessOf, type DatabaseAccess } from './access.ts';
import { connectClient, endClient } from './database.ts';
import { postgresError } from './postgres-error.ts';
import { isUnwantedData, readCopyData, type CopyDataFilter, type CopyDataHandler } from './copy-data.ts';
import { FRAME_HEADER_BYTES, FrameReader } from './frames.ts';
import { identify, type ServerIdentity } from './identify.ts';
import { Liveness, SILENCE_MS } from './liveness.ts';
import { Pace } from './pace.ts';
import { PauseLock } from './pause-lock.ts';
import { streamRefused } from './slot.ts';
import { ReadSocket } from './socket.ts';
import { message, responseFields, standbyStatus } from './wire.ts';

/** A status goes out this often (invariant 9): it is also the sign of life that a standby looks for. */
const STATUS_EVERY_MS = 1000;
const START_TIMEOUT_MS = 10_000;

export interface ReplicationOptions extends CopyDataHandler {
  readonly access: string | DatabaseAccess;
  readonly slot: string;
  /** Asked of large messages: what is not about an event is not put together in memory. */
  readonly isUnwanted: CopyDataFilter;
  /** Everything before it is durable in ClickHouse and settled in the ledger: Postgres may forget it. Asked whenever a status goes out. */
  readonly flushLsn: () => Lsn;
  /** Everything before it is delivered, whether Postgres may forget it yet or not: pg_stat_replication.replay_lsn. */
  readonly applyLsn: () => Lsn;
  /** Is told of pauses. */
  readonly measures: Pick<Measures, 'paused' | 'resumed'>;
  /** Postgres says something about the stream that does not end it, such as for which standby it waits. */
  readonly onWarning: (sqlState: string, text: string) => void;
  /** Whether the server is at work for the stream, although it says nothing: before 16 it is silent while it decodes what is not published. */
  readonly isWorking: () => Promise<boolean>;
  /** The stream has ended or cannot go on. */
  readonly onFailure: (error: OutboxError) => void;
}

/**
 * The replication connection. The driver connects and authenticates; from START_REPLICATION on the socket is read here, so
 * that a message costs no object, and what is acknowledged is exactly what was said.
 *
 * https://www.postgresql.org/docs/current/protocol-replication.html
 */
export class Replication {
  readonly #client: pg.Client;
  readonly #reader: ReadSocket;
  readonly #socket: Socket;
  readonly #options: ReplicationOptions;
  readonly #frames: FrameReader;
  readonly #liveness = new Liveness();
  readonly #reading: PauseLock<PauseReason>;
  readonly #pace: Pace;
  readonly server: ServerIdentity;
  #sentLsn: Lsn = 0;
  #started: { resolve: () => void; reject: (reason: unknown) => void } | undefined;
  /** The stream is being ended: what still comes is discarded. */
  #drained: (() => void) | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #isJudging = false;
  #closed = false;

  private constructor(client: pg.Client, reader: ReadSocket, server: ServerIdentity, options: ReplicationOptions) {
    this.#client = client;
    this.#reader = reader;
    this.server = server;
    this.#options = options;
    this.#frames = new FrameReader(
      (type, buffer, start, end) => this.#frame(type, buffer, start, end),
      (type, buffer, start, end) =>
        type === 0x64 && isUnwantedData(buffer, start + FRAME_HEADER_BYTES, end, options.isUnwanted),
    );
    const { connection } = client as unknown as { connection: { stream: Socket } };
    this.#socket = connection.stream;
    this.#pace = new Pace(this.#socket, () => this.resume('resting'));
    this.#reading = new PauseLock({
      onHeld: (reason) => options.measures.paused(reason),
      onReleased: (reason) => {
        options.measures.resumed(reason);
        // a rest is too short to count as silence
        if (reason !== 'resting') this.#liveness.listening();
      },
      onPaused: () => this.#socket.pause(),
      onResumed: () => this.#goOn(),
    });
  }

  /** Connects and asks the server who it is. Throws OutboxErrors OUTBOX_PG_*. */
  static async connect(options: ReplicationOptions): Promise<Replication> {
    let failed: ((error: OutboxError) => void) | undefined;
    let reader!: ReadSocket;
    const socket = (): Socket => (reader = new ReadSocket()).socket;
    const parameters = { wal_sender_timeout: `${SILENCE_MS}ms` };
    const client = await connectClient(options.access, { replication: true, parameters, socket }, (error) =>
      failed?.(error),
    );
    try {
      const replication = new Replication(client, reader, await identify(client), options);
      failed = (error) => replication.#fail(error);
      return replication;
    } catch (error) {
      await endClient(client);
      throw postgresError(error);
    }
  }

  /**
   * Attaches to the slot and starts reading, from what the server knows to be confirmed. Resolves when the server streams.
   * Throws OUTBOX_SLOT_BUSY, OUTBOX_SLOT_MISSING, OUTBOX_SLOT_INVALID and other OutboxErrors OUTBOX_PG_*.
   */
  async start(): Promise<void> {
    const started = new Promise<void>((resolve, reject) => {
      this.#started = { resolve, reject };
    });
    const { slot, access } = this.#options;
    const publication = publicationOf(slot, accessOf(access).schema);
    const command = `START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (proto_version '1', publication_names '${publication}', binary 'true')`;
    this.#socket.removeAllListeners('data');
    this.#reader.takeOver((chunk) => this.#read(chunk));
    // a TLS socket hands over what it deciphered as events
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket.write(message('Q', Buffer.from(`${command}\0`)));
    const timer = setTimeout(() => {
      this.#fail(new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: 'no answer to START_REPLICATION' }));
    }, START_TIMEOUT_MS);
    try {
      await started;
    } finally {
      clearTimeout(timer);
    }
    this.#ticker = setInterval(() => this.#tick(), STATUS_EVERY_MS);
  }

  /** Stops reading for a reason; it goes on when no reason is left. Statuses are sent all the same. */
  pause(reason: PauseReason): void {
    this.#reading.hold(reason);
  }

  resume(reason: PauseReason): void {
    if (!this.#closed) this.#reading.release(reason);
  }

  /** Sends a status now, if it says anything new or `always`. */
  sendStatus(always: boolean): void {
    const flushLsn = Math.max(this.#sentLsn, this.#options.flushLsn());
    if (this.#closed || (!always && flushLsn === this.#sentLsn)) return;
    const applyLsn = Math.max(flushLsn, this.#options.applyLsn());
    this.#socket.write(standbyStatus(flushLsn, applyLsn, this.#liveness.shouldAsk));
    this.#sentLsn = flushLsn;
  }

  /**
   * Ends the stream so that the server has the last status: CopyDone, then read and discard until the server is ready. Closes
   * the connection, after `timeoutMs` in any case.
   */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
      timer = setTimeout(resolve, timeoutMs);
      this.sendStatus(true);
      this.#socket.write(message('c'));
      this.#reading.releaseAll();
    });
    clearTimeout(timer);
    await this.close();
  }

  /** Ends the wait for the server's answer to START: the session is over for another reason. */
  cancelStart(reason: unknown): void {
    this.#started?.reject(reason);
    this.#started = undefined;
  }

  /** Drops the connection. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ticker);
    this.#pace.stop();
    this.#socket.removeAllListeners('data');
    this.#socket.destroy();
    await endClient(this.#client);
  }

  /** Reads on, unless what was refused for lack of room is refused again. */
  #goOn(): void {
    try {
      if (this.#frames.resume()) this.#socket.resume();
      else this.pause('buffer full');
    } catch (error) {
      this.#fail(unreadable(error));
    }
  }

  #read(chunk: Buffer): void {
    this.#liveness.reading();
    try {
      this.#frames.push(chunk);
    } catch (error) {
      this.#fail(unreadable(error));
      return;
    }
    this.#liveness.read(chunk.length);
    if (this.#drained !== undefined) return;
    if (this.#frames.isStopped) this.pause('buffer full');
    else if (this.#pace.rests()) this.pause('resting');
  }

  #frame(type: number, buffer: Buffer, start: number, end: number): boolean {
    this.#liveness.completed();
    const at = start + FRAME_HEADER_BYTES;
    switch (type) {
      case 0x64: // CopyData
        return this.#drained !== undefined || readCopyData(buffer, at, end, this.#options);
      case 0x57: // CopyBothResponse
        this.#started?.resolve();
        this.#started = undefined;
        return true;
      case 0x45: {
        // ErrorResponse
        const { C: sqlState = '', M: text = '' } = responseFields(buffer, at, end);
        throw streamRefused(sqlState, text, this.#started === undefined);
      }
      case 0x4e: {
        // NoticeResponse. Texts are translated; the source file is not, and pgoutput's only warning is that the publication is
        // not there, and that it skips what would be in it
        const { V: severity, F: file = 'pgoutput.c', C: sqlState = '', M: text = '' } = responseFields(buffer, at, end);
        if (severity !== 'WARNING') return true;
        if (file === 'pgoutput.c')
          throw new OutboxError('OUTBOX_PUBLICATION_MISSING', { detail: `Postgres warns: ${text}`, sqlState });
        this.#options.onWarning(sqlState, text);
        return true;
      }
      case 0x63: // CopyDone
      case 0x5a: // ReadyForQuery
        if (this.#drained === undefined) throw ended();
        if (type === 0x5a) this.#drained();
        return true;
      case 0x43: // CommandComplete
      case 0x53: // ParameterStatus
        return true;
      default:
        throw new OutboxError('OUTBOX_PROTOCOL', { detail: `unexpected message type 0x${type.toString(16)}` });
    }
  }

  #tick(): void {
    if (!this.#reading.isPaused && this.#liveness.isSilent) void this.#judgeSilence();
    this.sendStatus(true);
  }

  async #judgeSilence(): Promise<void> {
    if (this.#isJudging) return;
    this.#isJudging = true;
    const isWorking = await this.#options.isWorking().catch(() => false);
    this.#isJudging = false;
    if (isWorking) this.#liveness.listening();
    else if (this.#liveness.isSilent)
      this.#fail(
        new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: `no word from Postgres for ${SILENCE_MS / 1000} s` }),
      );
  }

  #fail(error: OutboxError): void {
    if (this.#closed) return;
    if (this.#drained !== undefined) {
      this.#drained();
      return;
    }
    this.pause('draining');
    if (this.#started !== undefined) {
      this.#started.reject(error);
      this.#started = undefined;
    } else this.#options.onFailure(error);
  }
}

/** Reads beyond a buffer's end are RangeErrors of the runtime. */
function unreadable(error: unknown): OutboxError {
  return error instanceof OutboxError ? error : new OutboxError('OUTBOX_PROTOCOL', { cause: error });
}

function ended(): OutboxError {
  return new OutboxError('OUTBOX_PG_UNREACHABLE', { detail: 'Postgres ended the stream' });
}
