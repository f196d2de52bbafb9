/** What is told late: by a successor of successors that were killed while they waited for inserts of their predecessors. */
const GRACE_MS = 3 * 60_000;

/** Codes that a fault explains, and when; ms since 1970. */
interface Explanation {
  readonly codes: readonly string[];
  readonly from: number;
  to: number;
}

/** What happened when, and what should never have happened. */
export class Journal {
  readonly #explanations: Explanation[] = [];
  readonly lines: string[] = [];
  readonly violations: string[] = [];
  readonly #began = performance.now();

  get seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  note(text: string): void {
    this.lines.push(`${this.seconds.toFixed(3).padStart(9)} ${text}`);
  }

  violate(text: string): void {
    if (this.violations.includes(text)) return;
    this.note(`VIOLATION ${text}`);
    this.violations.push(text);
  }

  /** From now on streamers may say this, until a while after the returned function is called. */
  explain(codes: readonly string[]): () => void {
    const explanation: Explanation = { codes, from: Date.now(), to: Infinity };
    this.#explanations.push(explanation);
    return () => {
      explanation.to = Date.now() + GRACE_MS;
    };
  }

  isExplained(code: string, at: number): boolean {
    return this.#explanations.some(({ codes, from, to }) => codes.includes(code) && at >= from && at <= to);
  }
}
