/**
 * Stops something for as long as anybody has a reason to. Each reason is held and released by whoever has it; the lock counts
 * none of them twice, and goes on when the last is gone. A boolean could not: the first to resume would undo the pause of all.
 *
 *   const lock = new PauseLock<'buffer full' | 'draining'>({ onPaused: () => socket.pause(), onResumed: () => socket.resume() });
 *   lock.hold('buffer full');     // pauses
 *   lock.hold('draining');        // is paused already
 *   lock.release('buffer full');  // stays paused
 *   lock.release('draining');     // resumes
 */
export class PauseLock<Reason extends string> {
  readonly #reasons = new Set<Reason>();
  readonly #options: PauseLockOptions<Reason>;

  constructor(options: PauseLockOptions<Reason>) {
    this.#options = options;
  }

  get isPaused(): boolean {
    return this.#reasons.size > 0;
  }

  hold(reason: Reason): void {
    if (this.#reasons.has(reason)) return;
    this.#reasons.add(reason);
    this.#options.onHeld?.(reason);
    if (this.#reasons.size === 1) this.#options.onPaused();
  }

  /** Does nothing for a reason that is not held. */
  release(reason: Reason): void {
    if (!this.#reasons.delete(reason)) return;
    this.#options.onReleased?.(reason);
    if (this.#reasons.size === 0) this.#options.onResumed();
  }

  /** Nothing is a reason any more. */
  releaseAll(): void {
    for (const reason of new Set(this.#reasons)) this.release(reason);
  }
}

interface PauseLockOptions<Reason> {
  readonly onPaused: () => void;
  /** May hold again. */
  readonly onResumed: () => void;
  readonly onHeld?: (reason: Reason) => void;
  readonly onReleased?: (reason: Reason) => void;
}
