import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** CPU seconds that a process has used, of its own threads (user and system). Linux. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  // utime and stime, in hundredths of a second on every Linux
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The largest resident size that a process has had, MB. */
export function peakMegabytes(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Resolves when a streamer logs `message`, from now on; rejects when it ends before. Once for each process. */
export async function logged(streamer: ChildProcess, message: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    streamer.on('exit', () => reject(new Error(`the streamer ended before it said "${message}"`)));
    createInterface(streamer.stdout!).on('line', (line) => {
      if ((JSON.parse(line) as { msg: string }).msg === message) resolve();
    });
  });
}
