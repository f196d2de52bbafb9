import { OutboxError, type ErrorCode } from '../../errors.ts';
import { mayIdle } from '../clickhouse/idling.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../observe/log.ts';
import type { Readiness } from '../observe/readiness.ts';
import { Recurring } from '../recurring.ts';
import { isoHour, type Manifest } from './manifest.ts';
import { Manifests, type ManifestsReport } from './manifests.ts';

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
  readonly #turns = new Recurring(async (signal) => this.#run(signal));

  constructor(config: Config, log: Logger, readiness: Readiness) {
    this.#manifests = new Manifests(config);
    this.#isOff = config.manifests === 'off';
    this.#everyMs = mayIdle(config) ? EVERY_IDLING_MS : EVERY_MS;
    this.#log = log;
    this.#readiness = readiness;
  }

  /** To be called when the slot is held and the ledger is ours. */
  start(): void {
    if (!this.#isOff) this.#turns.start(FIRST_MS);
  }

  /** A run that is under way ends before its next hour. */
  stop(): void {
    this.#turns.stop();
  }

  /** Returns after how many ms the next run is due. */
  async #run(signal: AbortSignal): Promise<number> {
    try {
      const { head, trouble } = await this.#manifests.run({ signal, onMade: (manifest) => this.#tellMade(manifest) });
      if (signal.aborted) return this.#everyMs;
      this.#head = head;
      this.#tell(trouble);
    } catch (error) {
      if (signal.aborted) return this.#everyMs;
      this.#tell(error);
    }
    const head = this.#head;
    const [number, hour] = head === undefined ? [0, undefined] : [head.number, isoHour(head.hour)];
    this.#readiness.manifestsRan({ ranAt: Date.now(), number, hour, hash: head?.hash, problem: this.#problem });
    return this.#everyMs;
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
