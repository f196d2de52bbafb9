import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning } from './children.ts';
import type { EmbeddedStreamer } from './streamer.ts';

const INTERVAL_MS = 500;

interface Line {
  readonly level?: string;
  readonly msg?: string;
  readonly err?: { readonly code?: string; readonly message?: string; readonly next?: string };
}

/** What a developer has to know of the streamer's log: warnings and errors, with their next step. */
export class StreamerLog {
  readonly #streamer: EmbeddedStreamer;
  #read = 0;
  #isOver = false;

  constructor(streamer: EmbeddedStreamer) {
    this.#streamer = streamer;
  }

  /** Tells what comes, until the streamer has ended. */
  async follow(tell: (text: string) => void): Promise<void> {
    while (!this.#isOver && (await isRunning(this.#streamer.pid))) {
      await this.#tellNew(tell);
      await delay(INTERVAL_MS);
    }
    await this.#tellNew(tell);
  }

  stop(): void {
    this.#isOver = true;
  }

  async #tellNew(tell: (text: string) => void): Promise<void> {
    const text = await readFile(this.#streamer.log, 'utf8').catch(() => '');
    // the last line may not be whole yet
    const end = text.lastIndexOf('\n') + 1;
    const lines = text.slice(this.#read, end).split('\n');
    this.#read = Math.max(this.#read, end);
    for (const line of lines) {
      const told = describe(line);
      if (told !== undefined) tell(told);
    }
  }
}

function describe(text: string): string | undefined {
  if (!text.startsWith('{')) return text === '' ? undefined : `streamer: ${text}`;
  const { level, msg, err } = JSON.parse(text) as Line;
  if (level !== 'warn' && level !== 'error' && level !== 'fatal') return undefined;
  const what = err === undefined ? msg : `${msg}: ${err.code ?? ''} ${err.message ?? ''}`;
  return `streamer: ${what}${err?.next === undefined ? '' : `\n  Next: ${err.next}`}`;
}
