import { parseDuration } from '../compare/window.ts';
import type { RepairProgress } from '../repair/repair.ts';

export const PROGRESS_OPTION = { type: 'string', default: '10s' } as const;
export const PROGRESS_HELP = 'how often stderr gets progress if it is no terminal (10s)';

const TERMINAL_EVERY_MS = 1000;
const DAY_MS = 86_400_000;

const CLEAR_LINE = '\r\u001B[2K';

/** The value of `--progress`, and what is wrong with it. */
export function readProgress(text: string): { everyMs: number; problems: string[] } {
  const everyMs = parseDuration(text) ?? 0;
  const isSound = everyMs > 0 && everyMs <= DAY_MS;
  return { everyMs, problems: isSound ? [] : ['--progress must be a duration such as 10s, of a day at most'] };
}

/** While an idle service of ClickHouse Cloud is given its minute. */
export function tellWaking(): void {
  process.stderr.write('ClickHouse is waking: a service that was idle may take a minute to answer\n');
}

/**
 * What a command does while its answer takes long, on stderr: on a terminal one line that is written over and over, elsewhere plain
 * lines, at most one every so often. A wait is told at once, before it begins.
 */
export class ProgressDisplay {
  readonly #stream: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>;
  readonly #timer: NodeJS.Timeout;
  #latest: RepairProgress | undefined;
  /** Since the latest step began, and since the first of what is counted in this unit. */
  #stepBegan = performance.now();
  #began = 0;
  #part: { readonly done: number; readonly of: number; readonly unit: 'bytes' | 'events' } | undefined;
  #isDrawn = false;

  constructor(stream: Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>, plainEveryMs: number) {
    this.#stream = stream;
    // the seconds go on while a server works
    this.#timer = setInterval(() => this.#tell(), stream.isTTY ? TERMINAL_EVERY_MS : plainEveryMs);
  }

  show(progress: RepairProgress): void {
    // of transactions, each is told
    const isNew = progress.step !== this.#latest?.step || progress.step === 'waiting for transactions';
    this.#latest = progress;
    if ('done' in progress && progress.done !== undefined && progress.of !== undefined) {
      const unit = progress.step === 'counting' ? 'bytes' : 'events';
      if (this.#part?.unit !== unit) this.#began = performance.now();
      this.#part = { done: progress.done, of: progress.of, unit };
    }
    if (!isNew) return;
    this.#stepBegan = performance.now();
    if (this.#stream.isTTY || progress.step.startsWith('waiting')) this.#tell();
  }

  /** Leaves the terminal's line empty, for what is printed then. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#isDrawn) this.#stream.write(CLEAR_LINE);
  }

  #tell(): void {
    if (this.#latest === undefined) return;
    const text = `${textOf(this.#latest)}${this.#whole(this.#latest)}, ${duration(performance.now() - this.#stepBegan)} so far`;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${text}\n`);
      return;
    }
    this.#isDrawn = true;
    // a line that wraps could not be written over
    this.#stream.write(`${CLEAR_LINE}${text.slice(0, Math.max(0, (this.#stream.columns || 80) - 1))}`);
  }

  /** Part of the whole, rate and time left, once it is known how much there is. What is compared is sent in between. */
  #whole(latest: RepairProgress): string {
    const isCounted = 'done' in latest || latest.step === 'sending what is missing';
    if (this.#part === undefined || !isCounted) return '';
    const { done, of, unit } = this.#part;
    if (unit === 'bytes' && done >= of) return ', ClickHouse still counts';
    const rate = (done / Math.max(1, performance.now() - this.#began)) * 1000;
    const percent = Math.floor((done / Math.max(1, of)) * 100);
    const left = rate > 0 ? `, ${duration(((of - done) / rate) * 1000)} left` : '';
    const text = (n: number): string => (unit === 'bytes' ? megabytes(n) : Math.round(n).toLocaleString('en-US'));
    return `, ${percent} % of ${text(of)}, ${text(rate)} a second${left}`;
  }
}

function textOf(progress: RepairProgress): string {
  switch (progress.step) {
    case 'counting':
      return 'comparing hours';
    case 'comparing':
      return 'comparing events';
    case 'comparing types':
      return 'comparing event_context with its text, in ClickHouse';
    case 'comparing again':
      return 'comparing again';
    case 'waiting for delivery':
      return `waiting for the streamer to deliver, at most ${duration(progress.atMostMs)}`;
    case 'waiting for inserts':
      return `waiting until no earlier insert can be under way, at least ${duration(progress.atLeastMs)}`;
    case 'waiting for transactions':
      return `waiting for ${progress.of}`;
    default:
      return progress.step;
  }
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6).toLocaleString('en-US')} MB`;
}

const MINUTE_S = 60;
const HOUR_S = 3600;

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 2 * MINUTE_S) return `${seconds} s`;
  return seconds < 2 * HOUR_S ? `${Math.round(seconds / MINUTE_S)} min` : `${Math.round(seconds / HOUR_S)} h`;
}
