import { DIGEST_SQL, type Oracle, type Transaction } from './oracle.ts';
import type { Position } from './watch.ts';
import type { World } from './world.ts';

interface Row extends Position {
  readonly event_id: string;
  readonly digest: string;
}

const PAGE = 100_000;
/** Of each kind of violation, so many are named. */
const NAMED = 5;

/**
 * Compares what stands in ClickHouse with what the oracle knows, once everything is delivered: every committed event exactly
 * once and byte for byte, nothing else, in the order of the commits, in the table and in the view. Says what is wrong in the
 * journal, and returns the positions of all rows.
 */
export async function judge(world: World, oracle: Oracle): Promise<Position[]> {
  const complaints = new Complaints(world);
  const stored = await world.ask<{ event_id: string }>('SELECT event_id FROM outbox.event');
  for (const problem of oracle.resolve(new Set(stored.map((row) => row.event_id))))
    complaints.add('the oracle disagrees with Postgres', problem);

  const positions: Position[] = [];
  const seen = new Map<string, Position>();
  const order = new CommitOrder(oracle, complaints);
  for await (const row of rowsInOrder(world)) {
    const { lsn, seq, event_id: id } = row;
    const at = `${lsn}:${seq}`;
    const before = positions.at(-1);
    if (before !== undefined && before.lsn === lsn && before.seq === seq)
      complaints.add('two rows at one position', `${at}, ${id}`);
    if (seq !== (before?.lsn === lsn ? before.seq + 1 : 1))
      complaints.add('a gap in a transaction', `${at} after ${before?.lsn}:${before?.seq}`);
    const twin = seen.get(id);
    if (twin !== undefined) complaints.add('an event twice', `${id} at ${twin.lsn}:${twin.seq} and ${at}`);
    seen.set(id, { lsn, seq });
    positions.push({ lsn, seq });
    order.row(row);
  }
  for (const { outcome, events } of oracle.transactions) {
    if (outcome !== 'committed') continue;
    for (const { id } of events) if (!seen.has(id)) complaints.add('a committed event is missing', id);
  }
  const altered = await world.former?.close();
  if (altered !== undefined) complaints.add('what was there before has changed', altered);
  await compareView(world, oracle, complaints);
  await checkLedger(world, complaints);
  complaints.file();
  return positions;
}

async function* rowsInOrder(world: World): AsyncGenerator<Row> {
  let last: Position = { lsn: 0, seq: 0 };
  for (;;) {
    const page = await world.select<Row>(
      `SELECT event_id, lsn, seq, ${DIGEST_SQL} AS digest FROM events
        WHERE source != '' AND (lsn, seq) > (${last.lsn}, ${last.seq}) ORDER BY lsn, seq LIMIT ${PAGE} WITH TIES`,
    );
    if (page.length === 0) return;
    yield* page;
    last = page.at(-1)!;
  }
}

/** Follows the rows in their order: transactions as they were written, one after the other as they were committed. */
class CommitOrder {
  readonly #oracle: Oracle;
  readonly #complaints: Complaints;
  #lsn = 0;
  #transaction: Transaction | undefined;
  /** When the COMMIT that was sent last, of those so far, was sent. */
  #latestSent = 0;
  readonly #latestOfProducer = new Map<number, number>();
  readonly #index: ReadonlyMap<Transaction, number>;

  constructor(oracle: Oracle, complaints: Complaints) {
    this.#oracle = oracle;
    this.#complaints = complaints;
    this.#index = new Map(oracle.transactions.map((transaction, n) => [transaction, n]));
  }

  row({ lsn, seq, event_id: id, digest }: Row): void {
    const transaction = this.#oracle.transactionOf.get(id);
    if (transaction === undefined) {
      this.#complaints.add('an event that no one wrote', id);
      return;
    }
    if (transaction.outcome !== 'committed' || this.#oracle.undone.has(id)) {
      this.#complaints.add('an event that was rolled back', `${id}, ${transaction.outcome}`);
      return;
    }
    if (lsn !== this.#lsn) this.#begin(lsn, transaction);
    const expected = this.#transaction!.events[seq - 1];
    if (expected?.id !== id)
      this.#complaints.add('not the order of writing', `${lsn}:${seq} is ${id}, not ${expected?.id}`);
    else if (expected.digest !== digest) this.#complaints.add('not what was written', `${id} at ${lsn}:${seq}`);
  }

  #begin(lsn: number, transaction: Transaction): void {
    this.#lsn = lsn;
    this.#transaction = transaction;
    // what was answered before another's COMMIT was sent stands before it
    if (transaction.answeredAt < this.#latestSent)
      this.#complaints.add(
        'not the order of commits',
        `the transaction at ${lsn} was committed before one that stands before it`,
      );
    this.#latestSent = Math.max(this.#latestSent, transaction.sentAt);
    const n = this.#index.get(transaction)!;
    if (n < (this.#latestOfProducer.get(transaction.producer) ?? -1))
      this.#complaints.add('not the order of a producer', `${lsn}, producer ${transaction.producer}`);
    this.#latestOfProducer.set(transaction.producer, n);
  }
}

async function compareView(world: World, oracle: Oracle, complaints: Complaints): Promise<void> {
  const expected = new Map(world.former?.counts);
  for (const { outcome, events } of oracle.transactions) {
    if (outcome !== 'committed') continue;
    for (const { type } of events) expected.set(type, (expected.get(type) ?? 0) + 1);
  }
  const counted = await world.select<{ event_type: string; n: number }>(
    'SELECT event_type, sum(n) AS n FROM counts GROUP BY event_type',
  );
  const found = new Map(counted.map(({ event_type: type, n }) => [type, n]));
  for (const type of new Set([...expected.keys(), ...found.keys()])) {
    if (world.former?.isUncertain(type) === true) continue;
    const [counts, is] = [found.get(type) ?? 0, expected.get(type) ?? 0];
    if (counts !== is) complaints.add('the view is wrong', `it counts ${counts} of ${is} ${type}`);
  }
}

/** Who was replaced wrote nothing any more (invariant 5): the ledger never went back. */
async function checkLedger(world: World, complaints: Complaints): Promise<void> {
  const back = await world.ask<{ n: string; epoch: string; lsn: string }>(
    `SELECT n, epoch, delivered_lsn AS lsn FROM (
       SELECT *, (delivered_lsn, delivered_seq) < (lag(delivered_lsn) OVER w, lag(delivered_seq) OVER w) OR epoch < lag(epoch) OVER w AS is_back
         FROM history WINDOW w AS (ORDER BY n)) h
      WHERE is_back`,
  );
  for (const { n, epoch, lsn } of back) complaints.add('the ledger went back', `write ${n}, to ${lsn}, epoch ${epoch}`);
}

class Complaints {
  readonly #world: World;
  readonly #found = new Map<string, string[]>();

  constructor(world: World) {
    this.#world = world;
  }

  add(kind: string, detail: string): void {
    const details = this.#found.get(kind);
    if (details === undefined) this.#found.set(kind, [detail]);
    else details.push(detail);
  }

  file(): void {
    for (const [kind, details] of this.#found) {
      const more = details.length > NAMED ? ` and ${details.length - NAMED} more` : '';
      this.#world.journal.violate(`${kind}: ${details.slice(0, NAMED).join('; ')}${more}`);
    }
  }
}
