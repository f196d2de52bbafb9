import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { LogWriter } from './log-writer.ts';

const LINE = `${'x'.repeat(999)}\n`;

test('LogWriter neither waits for a pipe that nobody reads nor keeps more than it may, and goes on when it is read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'log-writer-'));
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    const writer = new LogWriter(fd);
    for (let line = 0; line < 3000; line++) writer.write(LINE);
    const { dropped } = writer;
    expect(dropped).toBeGreaterThan(1000);
    const into = Buffer.alloc(1024 * 1024);
    let read = 0;
    await vi.waitUntil(() => {
      try {
        read += readSync(fd, into);
      } catch {
        // nothing is written yet
      }
      return read >= (3000 - dropped) * LINE.length;
    }, 10_000);
    expect(read).toBe((3000 - dropped) * LINE.length);
    expect(writer.dropped).toBe(dropped);
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
});

test('LogWriter counts the lines for which the disk has no room', () => {
  const fd = openSync('/dev/full', 'w');
  const writer = new LogWriter(fd);
  for (let line = 0; line < 5; line++) writer.write(LINE);
  expect(writer.dropped).toBe(5);
  closeSync(fd);
});
