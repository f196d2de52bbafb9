import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { OutboxError } from '../../errors.ts';
import { foreignRefusal, refusal, type ClickHouseRefusal } from './refusal.ts';

/** What came back for a request, from ClickHouse or from whatever stands before it. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readable;
}

/** No answer that is read as a whole is longer: those to questions have some rows, a refusal has some lines. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Of a refusal the beginning and the end are read: it may quote a row in between, of any length. */
const REFUSAL_PART_BYTES = 32 * 1024;
/** https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/Exception.cpp (getExceptionMessage) */
const EXCEPTION = /Code: (?<number>\d+)\..*?Exception: (?<message>.*)$/s;
/** The name stands behind all that is quoted, before the version. */
const NAME = /\((?<name>(?=\d*[A-Z])[A-Z0-9_]+)\) \(version [^()]*(?:\([^()]*\))?\)\s*$/;

/** Reads an answer to its end. Throws OUTBOX_CH_ANSWER when it has more bytes than that, and the error of its connection. */
export async function read(body: Readable, signal: AbortSignal): Promise<Buffer> {
  const answer = await upTo(MAX_BYTES + 1, body, signal);
  if (answer.length <= MAX_BYTES) return answer;
  throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `an answer has more than ${MAX_BYTES} bytes` });
}

/** The first bytes of an answer; the rest is not read. */
async function upTo(maxBytes: number, body: Readable, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of abortable(body, signal)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= maxBytes) break;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes);
}

/** The beginning and the end of an answer, of which no more is held than these. */
async function endsOf(body: Readable, signal: AbortSignal): Promise<string> {
  let head: Buffer = Buffer.alloc(0);
  let tail: Buffer = Buffer.alloc(0);
  let bytes = 0;
  for await (const chunk of abortable(body, signal)) {
    const missing = REFUSAL_PART_BYTES - head.length;
    if (missing > 0) head = Buffer.concat([head, chunk.subarray(0, missing)]);
    tail = Buffer.concat([tail, chunk.subarray(Math.max(0, missing))]).subarray(-REFUSAL_PART_BYTES);
    bytes += chunk.length;
    if (bytes > MAX_BYTES) break;
  }
  return `${head.toString('utf8')}${tail.toString('utf8')}`;
}

/** The lines of an answer as they come, those of one chunk together. Throws what `read` throws, of a line. */
export async function* linesOf(body: Readable, signal: AbortSignal): AsyncGenerator<string[], void, undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of abortable(body, signal)) {
    const end = chunk.lastIndexOf(0x0a);
    if (rest.length + chunk.length > MAX_BYTES)
      throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `a line of an answer has more than ${MAX_BYTES} bytes` });
    if (end < 0) {
      rest = Buffer.concat([rest, chunk]);
      continue;
    }
    const lines = Buffer.concat([rest, chunk.subarray(0, end)]).toString('utf8');
    rest = Buffer.from(chunk.subarray(end + 1));
    yield lines.split('\n');
  }
  if (rest.length > 0) yield [rest.toString('utf8')];
}

async function* abortable(body: Readable, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const abort = (): void => void body.destroy(new Error('aborted'));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    for await (const chunk of body) yield chunk as Buffer;
  } finally {
    signal.removeEventListener('abort', abort);
    body.destroy();
  }
}

/** Rows of JSONEachRow. Throws the refusal that ClickHouse writes where it can go on no more, and OUTBOX_CH_ANSWER. */
export function rowsOf<Row>(lines: readonly string[]): Row[] {
  try {
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
  } catch {
    const text = lines.join('\n');
    // rows before it may hold anything
    const found = EXCEPTION.exec(text.slice(Math.max(0, text.lastIndexOf('Code: '))));
    if (found?.groups !== undefined) throw refusalFrom(found.groups, 'question');
    throw new OutboxError('OUTBOX_CH_ANSWER', { detail: 'ClickHouse’s answer is not the JSON that was asked for' });
  }
}

/** Why a request was not granted, and by whom: ClickHouse names a number in a header, or begins its text with it. */
export async function refusalOf(
  { status, headers, body }: Answer,
  request: 'insert' | 'question',
  signal: AbortSignal,
): Promise<ClickHouseRefusal> {
  const text = await endsOf(body, signal);
  const found = EXCEPTION.exec(text);
  const number = headers['x-clickhouse-exception-code'];
  if (number === undefined && found?.index !== 0) return foreignRefusal(status, String(headers.server ?? ''));
  return refusalFrom({ ...found?.groups, ...(number === undefined ? {} : { number: String(number) }) }, request);
}

function refusalFrom(
  { number, message = '' }: Readonly<Record<string, string | undefined>>,
  request: 'insert' | 'question',
): ClickHouseRefusal {
  const name = NAME.exec(message)?.groups?.['name'] ?? '';
  return refusal({ number: Number(number), name, message: message.replace(NAME, '').trimEnd(), request });
}
