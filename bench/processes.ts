import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { childrenOf } from '../src/embedded/children.ts';

/** utime and stime, or those of the children that were waited for, are in hundredths of a second on every Linux. */
const TICKS = 100;

/** CPU seconds that a process has used, of its own threads (user and system). Linux. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** The same of a process, of the children that it has and of those that it has had. */
export async function treeCpuSeconds(pid: number): Promise<number> {
  for (;;) {
    const ended = endedCpuSeconds(pid);
    let living = 0;
    for (const child of await childrenOf(pid)) {
      try {
        living += cpuSeconds(child);
      } catch {
        // it has ended in this moment
      }
    }
    // otherwise one would be counted among both, or among neither
    if (endedCpuSeconds(pid) === ended) return cpuSeconds(pid) + ended + living;
  }
}

/** Of the children that were waited for. */
function endedCpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[13]) + Number(fields[14])) / TICKS;
}

function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // the name in parentheses may hold spaces and parentheses
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
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
