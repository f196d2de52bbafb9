import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { childrenOf } from '../src/embedded/children.ts';

/** Every Linux gives utime and stime, of a process and of its reaped children, in hundredths of a second. */
const TICKS = 100;

/** CPU seconds (user and system) of a process's own threads. Linux only. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** CPU seconds of a process, of its living children and of its reaped children. */
export async function treeCpuSeconds(pid: number): Promise<number> {
  for (;;) {
    const ended = endedCpuSeconds(pid);
    let living = 0;
    for (const child of await childrenOf(pid)) {
      try {
        living += cpuSeconds(child);
      } catch {
        // the child has just ended
      }
    }
    // otherwise a child that ended meanwhile would be counted twice, or not at all
    if (endedCpuSeconds(pid) === ended) return cpuSeconds(pid) + ended + living;
  }
}

/** CPU seconds of the reaped children. */
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
  /** The part of it that is mapped from files: the program itself. */
  readonly fileMb: number;
  /** The largest resident size that the process has had. */
  readonly peakMb: number;
}

export function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const megabytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
  return { residentMb: megabytes('VmRSS'), fileMb: megabytes('RssFile'), peakMb: megabytes('VmHWM') };
}

/** Resets the peak to the current resident size. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** Resolves when a streamer logs `message` from now on; rejects if it ends first. Call it only once per process. */
export async function logged(streamer: ChildProcess, message: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    streamer.on('exit', () => reject(new Error(`the streamer ended before it logged "${message}"`)));
    createInterface(streamer.stdout!).on('line', (line) => {
      if ((JSON.parse(line) as { msg: string }).msg === message) resolve();
    });
  });
}
