import { readFile } from 'node:fs/promises';
import { ERRORS, OutboxError } from '../errors.ts';

const LINES = 20;
/** A line of ClickHouse's stack traces. */
const FRAME = /^\d+\. .* @ 0x[0-9a-f]+$/;

/** The last lines of a log from byte `from` on, without stack traces; empty when there is none. */
export async function tail(file: string, from = 0): Promise<string[]> {
  try {
    const text = (await readFile(file)).subarray(from).toString('utf8');
    return text
      .split('\n')
      .filter((line) => line.trim() !== '' && !FRAME.test(line.trim()))
      .slice(-LINES);
  } catch {
    return [];
  }
}

/** OUTBOX_EMBEDDED_FAILED with what happened and the end of the log. */
export function failed(what: string, lines: readonly string[] = [], cause?: unknown): OutboxError {
  const detail = `${ERRORS.OUTBOX_EMBEDDED_FAILED.happened} ${what}`;
  return new OutboxError('OUTBOX_EMBEDDED_FAILED', { detail, problems: lines, cause });
}
