import type { Socket } from 'node:net';
import { LogicalReplicationService, PgoutputPlugin, type Pgoutput } from 'pg-logical-replication';
import type { Client } from 'pg';
import { eventually } from './wait.ts';

/** What START_REPLICATION is given in src/streamer/source/replication.ts. */
export const OUR_OPTIONS = "proto_version '1', publication_names 'outbox', binary 'true'";
/** So that a transaction of a few kilobytes is spilled to disk, that dates are in UTC, and that the server asks for a reply soon. */
const SESSION = '-c logical_decoding_work_mem=64kB -c TimeZone=UTC -c wal_sender_timeout=4s';

/** The columns of outbox.event that are published. */
export const COLUMNS = [
  'event_id',
  'event_type',
  'event_date_time',
  'environment',
  'event_context',
  'metadata_version',
  'subject',
  'traceparent',
  'recorded_at',
  'recorded_by',
] as const;
type ColumnName = (typeof COLUMNS)[number];
/** A row of outbox.event: the id in its usual form, dates as µs since 2000-01-01, the version in decimal. */
export type Values = readonly (string | null)[];

/** One thing that a reader of a stream was told. `lsn` is the commit LSN of the transaction that it belongs to. */
export type Change =
  | { readonly tag: 'begin'; readonly lsn: number; readonly time: string }
  | { readonly tag: 'relation'; readonly lsn: number }
  | { readonly tag: 'row'; readonly lsn: number; readonly ordinal: number; readonly values: Values }
  | { readonly tag: 'commit'; readonly lsn: number; readonly endLsn: number; readonly time: string }
  | { readonly tag: 'keepalive'; readonly lsn: number; readonly replyRequested: boolean }
  | { readonly tag: 'thrown'; readonly lsn: number; readonly error: string };

/** A value of a column in binary form. The text reading checks this function, too: there Postgres prints the values. */
export function fromBinary(name: ColumnName, bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (name) {
    case 'event_id':
      return Buffer.from(bytes)
        .toString('hex')
        .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    case 'event_date_time':
    case 'recorded_at':
      return String(view.getBigInt64(0));
    case 'metadata_version':
      return String(view.getBigInt64(0));
    default:
      return Buffer.from(bytes).toString();
  }
}

/** The values that lie in a decoded tuple, or in whatever else gives bytes by slot. */
export function valuesOf(bytesOf: (slot: number) => Uint8Array | null): Values {
  return COLUMNS.map((name, slot) => {
    const bytes = bytesOf(slot);
    return bytes === null ? null : fromBinary(name, bytes);
  });
}

const DAY_US = 86_400_000_000n;

/** µs since 2000-01-01 of a timestamptz as Postgres prints it in UTC, for all years that it has: `4714-11-24 00:00:00+00 BC`. */
export function microsecondsOf(text: string): string {
  if (text === 'infinity') return String(2n ** 63n - 1n);
  if (text === '-infinity') return String(-(2n ** 63n));
  const [, years, month, day, hour, minute, second, fraction = '', bc] =
    /^(\d+)-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?\+00( BC)?$/.exec(text)!;
  const year = bc === undefined ? Number(years) : 1 - Number(years);
  // a Date ends in the year 275760; the calendar repeats every 400 years, which are 146097 days
  const cycles = Math.floor((year - 2000) / 400);
  const within = Date.UTC(year - cycles * 400, Number(month) - 1, +day!, +hour!, +minute!, +second!);
  const microseconds = BigInt(within - Date.UTC(2000, 0, 1)) * 1000n + BigInt(fraction.padEnd(6, '0'));
  return String(BigInt(cycles) * 146_097n * DAY_US + microseconds);
}

/** A value of a column in text form, in the form of `Values`. */
export function fromText(name: ColumnName, text: string): string {
  return name === 'event_date_time' || name === 'recorded_at' ? microsecondsOf(text) : text;
}

const lsnOf = (text: string | null): number => {
  const [high, low] = (text ?? '0/0').split('/');
  return Number(BigInt(`0x${high}`) * 2n ** 32n + BigInt(`0x${low}`));
};
/** The plugin reads an Int64 unsigned, so that times before 2000 are 2^64 too late, and adds the µs from 1970 to 2000. */
const timeOf = (time: bigint): string => String(BigInt.asIntN(64, time - 946_684_800_000_000n));

/** Writes down what pg-logical-replication makes of messages. */
export class PluginLog {
  readonly changes: Change[] = [];
  /** Every kind of message that came, of whatever table. */
  readonly tags = new Set<string>();
  #lsn = 0;
  #ordinal = 0;

  message(message: Pgoutput.Message | { readonly tag: 'stream abort' }): void {
    this.tags.add(message.tag);
    const lsn = this.#lsn;
    switch (message.tag) {
      case 'begin':
        this.#lsn = lsnOf(message.commitLsn);
        this.#ordinal = 0;
        this.changes.push({ tag: 'begin', lsn: this.#lsn, time: timeOf(message.commitTime as bigint) });
        break;
      case 'relation':
        if (isOutbox(message)) this.changes.push({ tag: 'relation', lsn });
        break;
      case 'insert': {
        if (!isOutbox(message.relation)) break;
        const values = COLUMNS.map((name) => {
          const value = message.new[name] as Uint8Array | string | null;
          if (value === null) return null;
          return typeof value === 'string' ? fromText(name, value) : fromBinary(name, value);
        });
        this.changes.push({ tag: 'row', lsn, ordinal: ++this.#ordinal, values });
        break;
      }
      case 'commit':
        this.changes.push({
          tag: 'commit',
          lsn: lsnOf(message.commitLsn),
          endLsn: lsnOf(message.commitEndLsn),
          time: timeOf(message.commitTime as bigint),
        });
        break;
      default:
        break;
    }
  }

  heartbeat(lsn: string, replyRequested: boolean): void {
    this.changes.push({ tag: 'keepalive', lsn: lsnOf(lsn), replyRequested });
  }
}

function isOutbox({ schema, name }: Pgoutput.MessageRelation): boolean {
  return schema === 'outbox' && name === 'event';
}

/** Starts with given options, keeps the bytes that the server sends from then on, and takes values in text form as they are. */
class PeekingPlugin extends PgoutputPlugin {
  readonly chunks: Buffer[] = [];
  readonly #startOptions: string;

  constructor(startOptions: string) {
    super({ protoVersion: 1, publicationNames: ['outbox'] });
    this.#startOptions = startOptions;
  }

  override async start(client: Client, slot: string): Promise<unknown> {
    const { connection } = client as unknown as { connection: { stream: Socket } };
    connection.stream.on('data', (chunk: Buffer) => this.chunks.push(Buffer.from(chunk)));
    return client.query(`START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (${this.#startOptions})`);
  }

  override parse(buffer: Buffer): Pgoutput.Message {
    // of protocol 2, therefore unknown to the plugin; see aborted.test.ts
    if (buffer[0] === 0x41) return { tag: 'stream abort' } as unknown as Pgoutput.Message;
    const message = super.parse(buffer);
    // the parsers of pg would lose microseconds, and the text of JSON
    if (message.tag === 'relation') for (const column of message.columns) column.parser = (text: string) => text;
    return message;
  }
}

export interface Recording {
  /** All that the server sent from CopyBothResponse on. */
  readonly bytes: Buffer;
  /** What pg-logical-replication made of it: pg's parser cut it, the service took the header off, the plugin decoded it. */
  readonly changes: readonly Change[];
  readonly tags: ReadonlySet<string>;
}

/**
 * Reads a slot up to `endLsn` with pg-logical-replication and acknowledges nothing, so that the same transactions can be
 * read again. Ends when the server asks for a reply, or, when that is not wanted, once it has sent everything.
 */
export async function peek(
  url: string,
  slot: string,
  endLsn: string,
  { options = OUR_OPTIONS, untilReplyRequested = false } = {},
): Promise<Recording> {
  const service = new LogicalReplicationService(
    { connectionString: url, options: SESSION },
    { acknowledge: { auto: false, timeoutSeconds: 0 } },
  );
  const plugin = new PeekingPlugin(options);
  const log = new PluginLog();
  let failure: unknown;
  let complete = false;
  service.on('data', (_lsn, message: Pgoutput.Message) => log.message(message));
  service.on('heartbeat', (lsn, _time, replyRequested) => {
    log.heartbeat(lsn, replyRequested);
    complete ||= lsnOf(lsn) >= lsnOf(endLsn) && (replyRequested || !untilReplyRequested);
  });
  service.on('error', (error) => (failure ??= error));
  service.subscribe(plugin, slot).catch((error: unknown) => (failure ??= error));
  try {
    await eventually(`the stream reaches ${endLsn}`, () => {
      if (failure !== undefined) throw failure as Error;
      return complete;
    });
    return { bytes: Buffer.concat(plugin.chunks), changes: [...log.changes], tags: log.tags };
  } finally {
    await service.destroy();
  }
}
