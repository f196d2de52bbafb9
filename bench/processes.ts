import { readFileSync } from 'node:fs';

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
