import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** CPU seconds that a process has used, of its own threads (user and system). Linux. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  // utime and stime, in hundredths of a second on every Linux
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export interface Memory {
  /** Resident now, MB (of 2^20 bytes). */
  readonly residentMb: number;
  /** The part of it that is a file's: the program itself. */
  readonly fileMb: number;
  /** The largest resident size that the process has had. */
  readonly peakMb: number;
}

export function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const megabytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
  return { residentMb: megabytes('VmRSS'), fileMb: megabytes('RssFile'), peakMb: megabytes('VmHWM') };
}

/** From now on the peak is that of what follows. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
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
