import { OutboxError, type ErrorCode } from '../../errors.ts';
import { mayIdle } from '../clickhouse/idling.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../observe/log.ts';
import type { Readiness } from '../observe/readiness.ts';
import { isoHour, type Manifest } from './manifest.ts';
import { Manifests, type ManifestsReport } from './manifests.ts';

/** Half of it to one and a half, so that many streamers of one server do not come at once. */
const FIRST_MS = 3000;
const EVERY_MS = 5 * 60_000;
/** Where each question wakes ClickHouse. */
const EVERY_IDLING_MS = 60 * 60_000;

/** Makes manifests now and then while this process streams. Whatever becomes of it, the stream goes on. */
export class ManifestJob {
  readonly #manifests: Manifests;
  readonly #isOff: boolean;
  readonly #everyMs: number;
  readonly #log: Logger;
  readonly #readiness: Readiness;
  #problem: ErrorCode | undefined;
  #head: ManifestsReport['head'];
  #over: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(config: Config, log: Logger, readiness: Readiness) {
    this.#manifests = new Manifests(config);
    this.#isOff = config.manifests === 'off';
    this.#everyMs = mayIdle(config) ? EVERY_IDLING_MS : EVERY_MS;
    this.#log = log;
    this.#readiness = readiness;
  }

  /** To be called when the slot is held and the ledger is ours. */
  start(): void {
    this.stop();
    if (this.#isOff) return;
    this.#over = new AbortController();
    this.#runIn(FIRST_MS, this.#over.signal);
  }

  /** A run that is under way ends before its next hour. */
  stop(): void {
    this.#over?.abort();
    clearTimeout(this.#timer);
  }

  #runIn(ms: number, signal: AbortSignal): void {
    this.#timer = setTimeout(() => void this.#run(signal), ms * (0.5 + Math.random()));
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      const { head, trouble } = await this.#manifests.run({ signal, onMade: (manifest) => this.#tellMade(manifest) });
      if (signal.aborted) return;
      this.#head = head;
      this.#tell(trouble);
    } catch (error) {
      if (signal.aborted) return;
      this.#tell(error);
    }
    const head = this.#head;
    const [number, hour] = head === undefined ? [0, undefined] : [head.number, isoHour(head.hour)];
    this.#readiness.manifestsRan({ ranAt: Date.now(), number, hour, hash: head?.hash, problem: this.#problem });
    this.#runIn(this.#everyMs, signal);
  }

  /** This line is what an archive of the log holds against both databases: `verify --manifests --anchor` reads it. */
  #tellMade({ source, number, hour, part, events, hash, keyId }: Manifest): void {
    this.#log.info({ source, number, hour: isoHour(hour), part, events, hash, keyId }, 'made a manifest');
  }

  /** On transitions, never again and again. */
  #tell(error: unknown): void {
    const code = error === undefined ? undefined : error instanceof OutboxError ? error.code : 'OUTBOX_PG_FAILED';
    if (code !== undefined && code !== this.#problem) this.#log.warn({ err: error }, 'manifests are held up');
    if (code === undefined && this.#problem !== undefined) this.#log.info('manifests go on');
    this.#problem = code;
  }
}
