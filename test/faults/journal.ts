/** What happened when, and what should never have happened. */
export class Journal {
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
}
