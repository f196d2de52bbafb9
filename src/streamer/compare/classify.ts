import { FIELDS } from './digest.ts';
import type { Copies, Unequal } from './merge.ts';
import type { OutboxRow } from './outbox.ts';
import type { TableRow } from './table.ts';

/**
 * missing: in Postgres, not in ClickHouse. double: more often in ClickHouse than in Postgres. altered: there, with another
 * text, type or the like. extra: in ClickHouse alone. quarantined, discarded: not in ClickHouse, and Postgres knows why.
 * expired: in ClickHouse alone, because the outbox has been emptied up to there.
 */
export const KINDS = ['missing', 'double', 'altered', 'extra', 'quarantined', 'discarded', 'expired'] as const;
export type Kind = (typeof KINDS)[number];

/** Those which mean that the two sides do not hold the same. */
export const FAULTS: readonly Kind[] = ['missing', 'double', 'altered', 'extra'];

/** Equal rows of one id that are not alike on both sides. */
export interface Difference {
  readonly kind: Kind;
  readonly id: string;
  readonly count: number;
  /** What Postgres has, where it has it. */
  readonly outbox: OutboxRow | undefined;
  /** What ClickHouse has, where it has it. */
  readonly table: TableRow | undefined;
  /** Of an altered event. */
  readonly fields: readonly string[];
}

/** How many rows of an id ClickHouse rejected, and what became of them. */
export interface Rejected {
  readonly quarantined: number;
  readonly discarded: number;
}

/** Rows committed before this time, in µs since 1970, are no longer in the outbox. */
export type ExpiredBefore = bigint;

/** What the unequal rows of an id mean. Their counts add up: nothing is told twice. */
export function classify(
  { id, leftRows, left, copies, right }: Unequal<OutboxRow, TableRow>,
  rejected: Rejected,
  expiredBefore: ExpiredBefore,
): Difference[] {
  const differences: Difference[] = [];
  const tell = (kind: Kind, count: number, outbox?: OutboxRow, table?: TableRow): void => {
    if (count <= 0) return;
    const fields = kind === 'altered' ? otherFields(outbox!.fields, table!.fields) : [];
    differences.push({ kind, id, count, outbox, table, fields });
  };
  for (const { row, count } of copies) tell('double', count, undefined, row);

  const absent = new Counter(left);
  const unknown = new Counter(right);
  while (absent.head !== undefined && unknown.head !== undefined) {
    const count = Math.min(absent.head.count, unknown.head.count);
    tell('altered', count, absent.head.row, unknown.head.row);
    absent.take(count);
    unknown.take(count);
  }
  for (const kind of ['quarantined', 'discarded'] as const) {
    for (let rest = rejected[kind]; rest > 0 && absent.head !== undefined;) {
      const count = Math.min(rest, absent.head.count);
      tell(kind, count, absent.head.row);
      absent.take(count);
      rest -= count;
    }
  }
  for (; absent.head !== undefined; absent.take(absent.head.count)) tell('missing', absent.head.count, absent.head.row);
  for (; unknown.head !== undefined; unknown.take(unknown.head.count)) {
    const { row, count } = unknown.head;
    const kind = leftRows > 0 ? 'double' : BigInt(row.committed) < expiredBefore ? 'expired' : 'extra';
    tell(kind, count, undefined, row);
  }
  return differences;
}

function otherFields(outbox: string, table: string): string[] {
  const values = table.split(' ');
  return outbox.split(' ').flatMap((value, field) => (value === values[field] ? [] : FIELDS[field]!));
}

class Counter<Row> {
  readonly #rows: { row: Row; count: number }[];
  #index = 0;

  constructor(rows: readonly Copies<Row>[]) {
    this.#rows = rows.map((rowsOf) => ({ ...rowsOf }));
  }

  get head(): Copies<Row> | undefined {
    return this.#rows[this.#index];
  }

  take(count: number): void {
    const first = this.#rows[this.#index]!;
    first.count -= count;
    if (first.count === 0) this.#index++;
  }
}
