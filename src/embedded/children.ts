import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

async function statOf(pid: number): Promise<{ state: string; parent: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // the name in parentheses may hold spaces and parentheses; state and parent follow the last one
  const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state, parent: Number(parent) };
}

async function fromProc(pid: number): Promise<number[]> {
  const ids = (await readdir('/proc')).map(Number).filter(Number.isInteger);
  const stats = await Promise.all(ids.map(statOf));
  return ids.filter((_, index) => stats[index]?.parent === pid);
}

async function fromPs(pid: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
  const pairs = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  return pairs.flatMap(([id, parent]) => (id !== undefined && parent === pid ? [id] : []));
}

/** The processes whose parent is `pid`. Slim Linux images have no `ps`; macOS has no /proc. */
export function childrenOf(pid: number): Promise<number[]> {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

/** Whether the process still does anything: one that only waits to be reaped, by an init that may never do so, does not. */
export async function isRunning(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return process.platform !== 'linux' || !['', 'Z', 'X'].includes((await statOf(pid)).state);
}
