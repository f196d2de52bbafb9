import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves with the first answer that is neither undefined nor false; rejects, naming `what`, after `timeoutMs`. */
export async function eventually<T>(
  what: string | (() => string),
  ask: () => T | Promise<T>,
  timeoutMs = 60_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + timeoutMs;
  let pauseMs = 20;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== null && answer !== false) return answer as NonNullable<Exclude<T, false>>;
    if (performance.now() > end)
      throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`);
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 1.3, 150);
  }
}
