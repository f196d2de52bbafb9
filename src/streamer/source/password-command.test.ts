import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { passwordOf } from './password-command.ts';

const LIMIT_MS = 20_000;

test('the password is what the command prints, without the line break at its end', async () => {
  expect(await passwordOf(`printf '%s\\n' " a 'b c "`, LIMIT_MS)).toBe(" a 'b c ");
});

test.for<readonly [command: string, detail: RegExp]>([
  ['echo canary; echo canary >&2; exit 3', /it ended with code 3$/],
  ['kill -9 $$', /SIGKILL ended it$/],
  ['true', /it prints nothing$/],
  ['echo canary; echo canary', /it prints more than one line$/],
  ['yes canary', /it prints more than 65536 bytes$/],
  ['canary-of-a-program', /it ended with code 127$/],
])('%s is reported without what it printed', async ([command, detail]) => {
  const error: unknown = await passwordOf(command, LIMIT_MS).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'OUTBOX_PG_PASSWORD_COMMAND', message: expect.stringMatching(detail) });
  expect(JSON.stringify(error) + String(error)).not.toContain('canary');
});

test('a command that does not end is reported', async () => {
  await expect(passwordOf('sleep 600', 10)).rejects.toThrow('it did not end within 0.01 s');
});

test('a command that is ended takes with it all that it has started', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'password-'));
  const pid = join(directory, 'pid');
  await expect(passwordOf(`sleep 600 & echo $! > ${pid}; yes`, LIMIT_MS)).rejects.toThrow('more than 65536 bytes');
  const child = Number(await readFile(pid, 'utf8'));
  const lives = (): boolean => {
    try {
      return process.kill(child, 0);
    } catch {
      return false;
    }
  };
  await vi.waitUntil(() => !lives(), 10_000);
  await rm(directory, { recursive: true });
});
