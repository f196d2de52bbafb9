import { Client } from 'pg';
import { memory } from './processes.ts';

const SAMPLE_MS = 250;
const ASK_MS = 1000;
const SAY_MS = 5000;
const CURVE_COLUMNS = 72;
const BARS = ' ▁▂▃▄▅▆▇█';

interface Sample {
  readonly atMs: number;
  readonly residentMb: number;
}

interface Walsender {
  pid: number;
  /** Seconds since the streamer sent the last status that arrived. */
  status_age: number;
  /** Whether it waits for the streamer to read. */
  waits: boolean;
  sent_lsn: string;
  retained_mb: number;
}

/** Samples a streamer and its walsender while a scenario runs, and draws the streamer's memory. */
export class Watch implements AsyncDisposable {
  readonly #db: Client;
  readonly #began = performance.now();
  readonly #samples: Sample[] = [];
  readonly #marks: { atMs: number; what: string }[] = [];
  readonly #walsenders = new Set<number>();
  readonly #timers: NodeJS.Timeout[];
  #pid: number;
  #walsender: Walsender | undefined;
  #asking: Promise<void> | undefined;
  peakMb = 0;
  /** The longest time without a new status, in seconds. */
  longestSilence = 0;
  /** How long the walsender could send nothing, in seconds. */
  pausedSeconds = 0;

  private constructor(db: Client, pid: number) {
    this.#db = db;
    this.#pid = pid;
    this.#timers = [
      setInterval(() => this.#sample(), SAMPLE_MS),
      setInterval(() => void (this.#asking ??= this.#ask()), ASK_MS),
      setInterval(() => this.#say(), SAY_MS),
    ];
  }

  static async begin(postgresUrl: string, pid: number): Promise<Watch> {
    const db = new Client(postgresUrl);
    await db.connect();
    return new Watch(db, pid);
  }

  /** Watches another process, which streams from now on. */
  follow(pid: number): void {
    this.#pid = pid;
  }

  /** How many walsenders served the slot: one, unless the streamer was restarted. */
  get walsenders(): number {
    return this.#walsenders.size;
  }

  get residentMb(): number {
    return memory(this.#pid).residentMb;
  }

  mark(what: string): void {
    this.#marks.push({ atMs: this.#elapsed, what });
    console.log(`${this.#head()}  -- ${what}`);
  }

  /** Draws RSS over time. Each column shows the maximum of its time slice; the top is `topMb`. */
  curve(topMb: number): string {
    const last = this.#samples.at(-1)?.atMs ?? 0;
    const column = (atMs: number): number => Math.min(CURVE_COLUMNS - 1, Math.floor((atMs / last) * CURVE_COLUMNS));
    const largest = Array.from({ length: CURVE_COLUMNS }, () => 0);
    for (const { atMs, residentMb } of this.#samples) {
      largest[column(atMs)] = Math.max(largest[column(atMs)]!, residentMb);
    }
    const rows = [3, 2, 1, 0].map((row) => {
      const cells = largest.map((mb) => BARS[Math.max(0, Math.min(8, Math.round((mb / topMb) * 32 - row * 8)))]!);
      return `  ${String(Math.round((topMb * (row + 1)) / 4)).padStart(5)} |${cells.join('')}`;
    });
    const letters = Array.from({ length: CURVE_COLUMNS }, () => ' ');
    const legend = this.#marks.map(({ atMs, what }, i) => {
      const letter = String.fromCharCode(97 + i);
      letters[column(atMs)] = letter;
      return `${letter} ${what}`;
    });
    const seconds = `${Math.round(last / 1000)} s`;
    return [...rows, `     MB  ${letters.join('')} ${seconds}`, `         ${legend.join(' · ')}`].join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#asking;
    await this.#db.end();
  }

  get #elapsed(): number {
    return performance.now() - this.#began;
  }

  #sample(): void {
    try {
      const { residentMb, peakMb } = memory(this.#pid);
      if (!Number.isFinite(residentMb)) return;
      this.#samples.push({ atMs: this.#elapsed, residentMb });
      this.peakMb = Math.max(this.peakMb, peakMb);
    } catch {
      // the process was killed, and its successor has not started yet
    }
  }

  async #ask(): Promise<void> {
    const began = performance.now();
    try {
      const { rows } = await this.#db.query<Walsender>(`
        SELECT r.pid, sent_lsn, wait_event IS NOT DISTINCT FROM 'WalSenderWriteData' AS waits,
               coalesce(extract(epoch FROM clock_timestamp() - reply_time), 0)::float8 AS status_age,
               ((pg_current_wal_lsn() - restart_lsn) / 1048576)::float8 AS retained_mb
          FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
          JOIN pg_stat_activity a ON a.pid = r.pid`);
      const [now] = rows;
      if (now !== undefined) {
        this.#walsenders.add(now.pid);
        this.longestSilence = Math.max(this.longestSilence, now.status_age);
        if (now.waits && now.sent_lsn === this.#walsender?.sent_lsn) this.pausedSeconds += ASK_MS / 1000;
      }
      this.#walsender = now;
    } catch (error) {
      console.log(`Postgres did not answer after ${Math.round(performance.now() - began)} ms: ${String(error)}`);
    } finally {
      this.#asking = undefined;
    }
  }

  #say(): void {
    const { residentMb } = this.#samples.at(-1) ?? { residentMb: Number.NaN };
    const sender = this.#walsender;
    const of =
      sender === undefined
        ? 'no walsender'
        : `status ${sender.status_age.toFixed(1).padStart(4)} s old, WAL held ${sender.retained_mb.toFixed(0).padStart(5)} MB${sender.waits ? ', walsender waits' : ''}`;
    console.log(
      `${this.#head()}  RSS ${residentMb.toFixed(0).padStart(4)} MB  peak ${this.peakMb.toFixed(0).padStart(4)} MB  ${of}`,
    );
  }

  #head(): string {
    return `${(this.#elapsed / 1000).toFixed(0).padStart(6)} s`;
  }
}
