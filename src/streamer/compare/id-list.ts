const ID_CHARACTERS = 36;
const STEP = ID_CHARACTERS + 1;

/** Ids of events as one text with commas between them: as many strings would take several times the memory, and their joints more. */
export class IdList {
  readonly #bytes: Buffer;
  size = 0;

  constructor(capacity: number) {
    this.#bytes = Buffer.alloc(capacity * STEP, ',');
  }

  get isFull(): boolean {
    return this.size * STEP === this.#bytes.length;
  }

  get last(): string | undefined {
    const end = this.size * STEP - 1;
    return this.size === 0 ? undefined : this.#bytes.toString('latin1', end - ID_CHARACTERS, end);
  }

  add(id: string): void {
    this.#bytes.write(id, this.size * STEP, 'latin1');
    this.size++;
  }

  clear(): void {
    this.size = 0;
  }

  get text(): string {
    return this.#bytes.toString('latin1', 0, Math.max(0, this.size * STEP - 1));
  }
}
