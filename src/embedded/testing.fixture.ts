import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { isRunning } from './children.ts';
import { until } from './wait.ts';

export const ODD = `p "'\\ :@/?#&%<> ü€😀`;

export interface Running {
  child: ChildProcess;
  url: string;
  pid: number;
  directory: string;
}

/** Runs the scenario in a process of its own, as `uid` when given; rejects with its stderr when it does not start. */
export async function runScenario(
  service: 'postgres' | 'clickhouse' | 'streamer',
  uid?: number,
  directory?: string,
): Promise<Running> {
  const script = join(import.meta.dirname, 'scenario.fixture.ts');
  const child = spawn(process.execPath, [script, service, ...(directory === undefined ? [] : [directory])], {
    cwd: '/',
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const errors = buffer(child.stderr);
  for await (const line of createInterface(child.stdout)) {
    const { url, pid, directory: used } = JSON.parse(line) as Omit<Running, 'child'>;
    return { child, url, pid, directory: used };
  }
  throw new Error((await errors).toString());
}

/** Lets the scenario end its service itself, and resolves to its exit code. */
export async function finish({ child }: Running): Promise<unknown> {
  const exit = once(child, 'exit');
  child.stdin?.end();
  return (await exit)[0];
}

export async function running(pids: readonly number[]): Promise<number[]> {
  const found = await Promise.all(pids.map(isRunning));
  return pids.filter((_, index) => found[index]);
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Fails by rejecting when the condition does not come to hold. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  if (!(await until(condition, 30_000, 20))) throw new Error(`not within 30 s: ${what}`);
}

/** Ids that the tests may take on: another than root's when they run as root, otherwise only their own. */
export const ORDINARY_UID = process.getuid?.() === 0 ? 65_534 : process.getuid?.();
