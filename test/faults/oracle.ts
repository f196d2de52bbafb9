import { hash } from 'node:crypto';

/** What a producer wrote, as it must stand in ClickHouse. */
export interface Written {
  readonly id: string;
  readonly type: string;
  /** Of everything that its producer decided. */
  readonly digest: string;
}

export type Outcome = 'open' | 'committed' | 'rolled back' | 'unknown';

/** `digestOf` in ClickHouse's words. */
export const DIGEST_SQL =
  "substring(lower(hex(SHA256(concat(event_type, '\\n', environment, '\\n', toString(metadata_version), '\\n', event_context_text)))), 1, 32)";

export function digestOf(type: string, environment: string, version: number, text: string): string {
  return hash('sha256', `${type}\n${environment}\n${version}\n${text}`).slice(0, 32);
}

/** One transaction of a producer. */
export class Transaction {
  /** In the order in which they were written; without those of savepoints that were rolled back. */
  events: Written[] = [];
  outcome: Outcome = 'open';
  /** When COMMIT was sent, and when its answer came; ms. */
  sentAt = Infinity;
  answeredAt = Infinity;
  readonly producer: number;
  readonly #oracle: Oracle;

  constructor(oracle: Oracle, producer: number) {
    this.#oracle = oracle;
    this.producer = producer;
  }

  wrote(events: readonly Written[]): void {
    for (const event of events) this.#oracle.transactionOf.set(event.id, this);
    this.events.push(...events);
  }

  /** A savepoint was rolled back: what was written since there were `length` events is gone. */
  undo(length: number): void {
    for (const { id } of this.events.splice(length)) this.#oracle.undone.add(id);
  }

  committing(): void {
    this.outcome = 'unknown';
    this.sentAt = performance.now();
  }

  committed(): void {
    this.answeredAt = performance.now();
    this.outcome = 'committed';
  }

  /** Nothing was committed: either Postgres said so, or COMMIT was never sent. */
  rolledBack(): void {
    this.outcome = 'rolled back';
  }
}

/** What happened, written down by those who did it, outside of both databases. */
export class Oracle {
  readonly transactions: Transaction[] = [];
  readonly transactionOf = new Map<string, Transaction>();
  /** Ids of savepoints that were rolled back. */
  readonly undone = new Set<string>();
  #committedEvents = 0;
  #counted = 0;

  begin(producer: number): Transaction {
    const transaction = new Transaction(this, producer);
    this.transactions.push(transaction);
    return transaction;
  }

  /** Events known to be committed so far. */
  get committedEvents(): number {
    while (this.#counted < this.transactions.length && this.transactions[this.#counted]!.outcome !== 'open') {
      const { outcome, events } = this.transactions[this.#counted++]!;
      if (outcome === 'committed') this.#committedEvents += events.length;
    }
    return this.#committedEvents;
  }

  /**
   * Settles what was left unknown by what Postgres holds, and compares all that is known with it: the oracle must be right
   * before anything is measured by it. Returns what is wrong.
   */
  resolve(stored: ReadonlySet<string>): string[] {
    const problems: string[] = [];
    for (const transaction of this.transactions) {
      const there = transaction.events.filter(({ id }) => stored.has(id)).length;
      const expected = transaction.outcome === 'committed' ? transaction.events.length : 0;
      if (transaction.outcome === 'unknown') {
        if (there !== 0 && there !== transaction.events.length)
          problems.push(`Postgres has ${there} of ${transaction.events.length} events of one transaction`);
        transaction.outcome = there > 0 ? 'committed' : 'rolled back';
      } else if (there !== expected)
        problems.push(`Postgres has ${there} of ${expected} events of a transaction that was ${transaction.outcome}`);
    }
    for (const id of this.undone) if (stored.has(id)) problems.push(`Postgres has ${id}, of a savepoint rolled back`);
    return problems;
  }

  /** Transactions with this outcome, and the events in them. */
  count(outcome: Outcome): { transactions: number; events: number } {
    const those = this.transactions.filter((transaction) => transaction.outcome === outcome);
    return { transactions: those.length, events: those.reduce((sum, { events }) => sum + events.length, 0) };
  }
}
