import { useEffect, useState } from 'preact/hooks';
import type { Failure } from '../streamer/commands/console/api.ts';

const TOKEN = 'token';
/** A question ends sooner. A change goes on until it is done: thousands of retries take minutes. */
const PATIENCE_MS = { GET: 30_000, POST: 30 * 60_000 };

/** What the server refused, or that it did not answer. */
export class Unanswered extends Error {
  readonly failure: Failure;
  /** 0 where nothing answered. */
  readonly status: number;

  constructor(failure: Failure, status: number) {
    super(failure.message);
    this.failure = failure;
    this.status = status;
  }
}

/** Of this tab alone: a cookie would go to every port of the host. */
export const token = {
  get: (): string => sessionStorage.getItem(TOKEN) ?? '',
  set: (value: string): void => sessionStorage.setItem(TOKEN, value),
};

/** What is told when the server asks for a token. */
let onUnauthorized = (): void => undefined;
export function whenUnauthorized(tell: () => void): void {
  onUnauthorized = tell;
}

/** Throws Unanswered, and what `signal` was aborted with. */
export async function ask<T>(
  path: string,
  options: { body?: unknown; method?: keyof typeof PATIENCE_MS; signal?: AbortSignal } = {},
): Promise<T> {
  const { body, method = body === undefined ? 'GET' : 'POST', signal } = options;
  const timeout = AbortSignal.timeout(PATIENCE_MS[method]);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        ...(token.get() === '' ? {} : { authorization: `Bearer ${token.get()}` }),
        ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      },
      ...(method === 'POST' ? { body: JSON.stringify(body ?? {}) } : {}),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new Unanswered(
      {
        code: 'OUTBOX_FLOW_FAILED',
        message: 'The console’s server does not answer.',
        next: 'Look whether it runs: `pg-outbox-clickhouse console`.',
      },
      0,
    );
  }
  if (response.ok) return (await response.json()) as T;
  const failure = (await response.json().catch(() => undefined)) as Failure | undefined;
  if (response.status === 401) onUnauthorized();
  throw new Unanswered(
    failure ?? {
      code: 'OUTBOX_FLOW_FAILED',
      message: `HTTP status ${response.status}`,
      next: 'Look at the console’s log.',
    },
    response.status,
  );
}

export interface Answer<T> {
  readonly data: T | undefined;
  /** Why the last question has no answer; the data is that of an earlier one. */
  readonly failure: Failure | undefined;
  /** When the data came, ms since 1970. */
  readonly at: number;
  readonly isAsking: boolean;
  readonly again: () => void;
}

type Last<T> = Omit<Answer<T>, 'again'> & { readonly path: string | undefined };

const NOTHING = { path: undefined, data: undefined, failure: undefined, at: 0, isAsking: true };

/**
 * Asks when the path changes, and every so often while somebody looks; ends a question that nobody waits for.
 *
 * @param path undefined asks nothing
 */
export function useAsk<T>(path: string | undefined, everyMs?: number): Answer<T> {
  const [last, setLast] = useState<Last<T>>(NOTHING);
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (path === undefined) return undefined;
    const leaving = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setLast((before) => ({ ...(before.path === path ? before : NOTHING), path, isAsking: true }));
    const once = async (): Promise<void> => {
      try {
        const data = await ask<T>(path, { signal: leaving.signal });
        setLast({ path, data, failure: undefined, at: Date.now(), isAsking: false });
      } catch (error) {
        if (leaving.signal.aborted) return;
        if (!(error instanceof Unanswered)) throw error;
        const { failure } = error;
        setLast((before) => ({ ...before, failure, isAsking: false }));
      }
      if (everyMs !== undefined && !leaving.signal.aborted) timer = setTimeout(whenSeen, everyMs);
    };
    const whenSeen = (): void => {
      if (!document.hidden) void once();
      else document.addEventListener('visibilitychange', whenSeen, { once: true });
    };
    void once();
    return () => {
      leaving.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', whenSeen);
    };
  }, [path, everyMs, round]);
  // an answer to another question must not be taken for one to this
  const { data, failure, at, isAsking } = last.path === path ? last : NOTHING;
  return { data, failure, at, isAsking, again: () => setRound((before) => before + 1) };
}
