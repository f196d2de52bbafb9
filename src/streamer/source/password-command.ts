import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { OutboxError } from '../../errors.ts';

/** A token of any service is shorter. */
const MAX_BYTES = 64 * 1024;

/**
 * What a command of the shell prints, without the line break at its end. Neither that nor what it says on stderr is repeated anywhere:
 * either may hold the secret. Throws OUTBOX_PG_PASSWORD_COMMAND.
 */
export async function passwordOf(command: string, timeoutMs: number): Promise<string> {
  // a group of its own, so that nothing that it has started outlives the limit
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  const ended = once(child, 'close');
  // without file handles to be had it has no output, and says so later
  const output = child.stdout as Readable | null;
  const chunks: Buffer[] = [];
  let bytes = 0;
  let fault: string | undefined;
  const end = (detail: string): void => {
    fault ??= detail;
    output?.destroy();
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  };
  output?.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    chunks.push(chunk);
    if (bytes > MAX_BYTES) end(`it prints more than ${MAX_BYTES} bytes`);
  });
  const timer = setTimeout(() => end(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
  try {
    const [code, signal] = (await ended) as [number | null, string | null];
    if (code !== 0) fault ??= signal === null ? `it ended with code ${code}` : `${signal} ended it`;
  } catch (error) {
    fault ??= `it cannot be started (${String((error as { code?: unknown }).code)})`;
  } finally {
    clearTimeout(timer);
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (fault === undefined && (password === '' || /[\r\n\0]/.test(password)))
    fault = password === '' ? 'it prints nothing' : 'it prints more than one line';
  if (fault !== undefined) throw new OutboxError('OUTBOX_PG_PASSWORD_COMMAND', { detail: fault });
  return password;
}
