import { OutboxError } from '../../../errors.ts';
import { reportFor } from '../verify-report.ts';
import { verify } from '../verify.ts';
import { readWindow } from '../../compare/window.ts';
import type { Config } from '../../config.ts';
import type { Verification, Verifications } from './api.ts';
import { malformed } from './search.ts';
import { failureOf } from './told.ts';

const KEPT = 20;
const WAIT_MS = 60_000;
const NAMED = 20;

/** Runs `verify`, one at a time, and keeps what the last ones found. */
export class Verifier {
  #runs: readonly Verification[] = [];

  get runs(): Verifications {
    return this.#runs.map((run) => (run.report === null && run.failure === null ? { ...run, seconds: age(run) } : run));
  }

  /** @param from a duration back from now, or empty for all. Throws a Refusal for another, and OUTBOX_CONSOLE_BUSY */
  start(config: Config, from: string): void {
    const { window, problems } = readWindow(from === '' ? {} : { from }, Date.now());
    if (problems.length > 0) throw malformed(problems.join('; '));
    if (this.#runs.some(({ report, failure }) => report === null && failure === null))
      throw new OutboxError('OUTBOX_CONSOLE_BUSY');
    const run: Verification = {
      id: (this.#runs[0]?.id ?? 0) + 1,
      from,
      startedAt: new Date().toISOString(),
      seconds: 0,
      progress: null,
      report: null,
      failure: null,
    };
    this.#runs = [run, ...this.#runs].slice(0, KEPT);
    const update = (what: Partial<Verification>): void => {
      this.#runs = this.#runs.map((other) => (other.id === run.id ? { ...other, ...what, seconds: age(run) } : other));
    };
    verify(config, { window, waitMs: WAIT_MS, limit: NAMED }, (progress) => update({ progress })).then(
      (report) => update({ report: reportFor(config.schema, report) }),
      (error: unknown) => update({ failure: failureOf(config.schema, error) }),
    );
  }
}

function age({ startedAt }: Verification): number {
  return Math.round((Date.now() - Date.parse(startedAt)) / 1000);
}
