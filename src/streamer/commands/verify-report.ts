import { ERRORS, type ErrorCode } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import { FAULTS, KINDS, type Difference, type Kind } from '../compare/classify.ts';
import type { Totals } from '../compare/comparison.ts';
import type { TypedRow } from '../compare/table.ts';
import { formatTime, type Window } from '../compare/window.ts';
import { formatPosition } from '../../position.ts';
import { toldOf } from '../../schema-name.ts';

/** An event that differs, without anything of its context. */
export interface Example {
  readonly kind: Kind | 'mistyped';
  readonly eventId: string;
  readonly count: number;
  readonly eventDateTime: string;
  /** When Postgres recorded it; null where Postgres does not have it. */
  readonly recordedAt: string | null;
  /** Its position in the stream, and its time of commit; null where ClickHouse does not have it. */
  readonly position: string | null;
  readonly committedAt: string | null;
  readonly why: string;
}

/** The document of `--json`. Counts are of rows: the same id twice is two events. */
export interface VerifyReport extends Readonly<Record<Kind, number>> {
  /** All that was compared is the same on both sides, and something was compared. */
  readonly identical: boolean;
  /** OUTBOX_VERIFY_NOTHING where outbox.event has no event of that time. */
  readonly code: ErrorCode | null;
  readonly source: string;
  readonly window: { readonly from: string | null; readonly to: string | null };
  /** Compared is what a snapshot of this position shows, and whether the streamer had delivered as far. */
  readonly snapshot: string;
  readonly delivered: string;
  readonly isDelivered: boolean;
  readonly postgres: number;
  readonly clickhouse: number;
  /** Rows in ClickHouse that were not compared: another source's, and what was delivered behind the snapshot. */
  readonly ofOthers: number;
  readonly behind: number;
  /** Events in Postgres that were not compared: other slots deliver them, before or after `reshard`. */
  readonly ofFormers: number;
  /** Rows whose event_context is not what the table's DEFAULT gives; null where the table has no such column. They may be told as altered, too. */
  readonly mistyped: number | null;
  /** Ids that seemed to differ, and at a second look did not. */
  readonly cleared: number;
  readonly examples: readonly Example[];
}

/** Counts differences, and keeps the first few of each kind. */
export class Findings {
  readonly counts: Record<Kind, number> = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<Kind, number>;
  readonly #limit: number;
  readonly #named = new Map<Kind, Example[]>(KINDS.map((kind) => [kind, []]));
  readonly #mistyped: Example[] = [];
  #mistypedRows = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(difference: Difference): void {
    this.counts[difference.kind] += difference.count;
    const named = this.#named.get(difference.kind)!;
    if (named.length < this.#limit) named.push(exampleOf(difference));
  }

  addMistyped(row: TypedRow): void {
    this.#mistypedRows++;
    if (this.#mistyped.length >= this.#limit) return;
    this.#mistyped.push({
      kind: 'mistyped',
      eventId: row.id,
      count: 1,
      eventDateTime: formatTime(BigInt(row.us)),
      recordedAt: null,
      position: formatPosition({ lsn: Number(row.atLsn), seq: row.atSeq }),
      committedAt: formatTime(BigInt(row.committed)),
      why: 'another event_context than the table’s DEFAULT makes of its event_context_text',
    });
  }

  /** @param of.isTyped the typed column was compared */
  report(
    totals: Totals,
    of: { source: string; window: Window; snapshotLsn: Lsn; deliveredLsn: Lsn; isTyped: boolean },
  ): VerifyReport {
    const time = (us: bigint | undefined): string | null => (us === undefined ? null : formatTime(us));
    const counts = { ...this.counts, expired: this.counts.expired + totals.expired };
    const isSame = FAULTS.every((kind) => counts[kind] === 0) && this.#mistypedRows === 0;
    const { ofOthers, behind, ofFormers } = totals;
    return {
      identical: isSame && totals.postgres > 0,
      code: isSame && totals.postgres === 0 ? 'OUTBOX_VERIFY_NOTHING' : null,
      source: of.source,
      window: { from: time(of.window.from), to: time(of.window.to) },
      snapshot: formatLsn(of.snapshotLsn),
      delivered: formatLsn(of.deliveredLsn),
      isDelivered: of.deliveredLsn >= of.snapshotLsn,
      postgres: totals.postgres,
      clickhouse: totals.clickhouse,
      ofOthers,
      behind,
      ofFormers,
      ...counts,
      mistyped: of.isTyped ? this.#mistypedRows : null,
      cleared: totals.cleared,
      examples: [...this.#named.values(), this.#mistyped].flat(),
    };
  }
}

const WHY: Readonly<Record<Exclude<Kind, 'altered'>, string>> = {
  missing: 'in outbox.event, not in ClickHouse',
  double: 'more often in ClickHouse than in outbox.event',
  extra: 'in ClickHouse, not in outbox.event, which still has the events of that time',
  quarantined: 'in outbox.quarantine',
  discarded: 'in outbox.quarantine, discarded',
  expired: 'in ClickHouse; its transaction may have begun before the oldest event that outbox.event still has',
};

function exampleOf({ kind, id, count, outbox, table, fields }: Difference): Example {
  return {
    kind,
    eventId: id,
    count,
    eventDateTime: formatTime(BigInt((outbox ?? table)!.us)),
    recordedAt: outbox === undefined ? null : formatTime(BigInt(outbox.recorded)),
    position: table === undefined ? null : formatPosition({ lsn: Number(table.atLsn), seq: table.atSeq }),
    committedAt: table === undefined ? null : formatTime(BigInt(table.committed)),
    why: kind === 'altered' ? `another ${fields.join(', ')}` : WHY[kind],
  };
}

const NAMED = [...KINDS, 'mistyped'] as const;

/** The report as it is told of an outbox in this schema. */
export function reportFor(schema: string, report: VerifyReport): VerifyReport {
  return { ...report, examples: report.examples.map((example) => ({ ...example, why: toldOf(schema, example.why) })) };
}

/** The report for people. @param schema of the outbox */
export function printReport(report: VerifyReport, schema: string): string {
  const { window, examples } = report;
  const row = (label: string, value: string | number): string =>
    `  ${label.padEnd(24)}${(typeof value === 'number' ? value.toLocaleString('en-US') : value).padStart(16)}`;
  const span =
    window.from === null && window.to === null
      ? `all that ${schema}.event has${report.ofFormers > 0 ? ' of this slot' : ''}`
      : `${window.from ?? '…'} to ${window.to ?? '…'}`;
  const lines = [
    `${report.source}, ${span}, at ${report.snapshot}`,
    '',
    row('events in Postgres', report.postgres),
    ...(report.ofFormers > 0 ? [row('  not compared', report.ofFormers)] : []),
    row('rows in ClickHouse', report.clickhouse),
    ...KINDS.map((kind) => row(`  ${kind}`, report[kind])),
    row('  mistyped', report.mistyped ?? 'not compared'),
    row('rows not compared', report.ofOthers + report.behind),
    ...(report.ofOthers > 0 ? [row('  of other sources', report.ofOthers)] : []),
    ...(report.behind > 0 ? [row('  behind the snapshot', report.behind)] : []),
  ];
  for (const kind of NAMED) {
    const named = examples.filter((example) => example.kind === kind);
    if (named.length === 0) continue;
    lines.push('', `${kind}${named.length < (report[kind] ?? 0) ? `, the first ${named.length}` : ''}:`);
    for (const example of named) {
      const { eventId, count, eventDateTime, recordedAt, position, committedAt, why } = example;
      const times = count > 1 ? ` ${count}×` : '';
      const where = position === null ? `recorded ${recordedAt}` : `at ${position}, committed ${committedAt}`;
      lines.push(`  ${eventId}${times}  of ${eventDateTime}, ${where}: ${why}`);
    }
  }
  if (report.cleared > 0)
    lines.push('', `${report.cleared} seemed to differ, and at a second look did not: committed meanwhile.`);
  if (!report.isDelivered)
    lines.push('', `Delivered was only ${report.delivered}: what was committed behind it counts as missing.`);
  if (report.ofFormers > 0) lines.push('', uncompared(report.ofFormers));
  lines.push('', toldOf(schema, verdict(report)), '');
  return lines.join('\n');
}

function uncompared(ofFormers: number): string {
  return `${ofFormers.toLocaleString('en-US')} events were not compared: other slots deliver them or have delivered them, before or after \`reshard\`. \`verify --former\` compares them, with a table that has the rows of all shares.`;
}

function verdict(report: VerifyReport): string {
  if (report.code !== null) {
    const { happened, next } = ERRORS[report.code];
    return `${report.code}: ${happened}\n\nNext: ${next}`;
  }
  if (!report.identical)
    return `Differences: ${NAMED.filter((kind) => kind === 'mistyped' || FAULTS.includes(kind))
      .map((kind) => [report[kind] ?? 0, kind] as const)
      .filter(([count]) => count > 0)
      .map(([count, kind]) => `${count.toLocaleString('en-US')} ${kind}`)
      .join(', ')}.`;
  const rejected = report.quarantined + report.discarded;
  const compared = report.ofFormers > 0 ? ' of those that were compared' : '';
  if (rejected > 0)
    return `ClickHouse holds the same events${compared}, but for ${rejected.toLocaleString('en-US')} in quarantine or discarded.`;
  return report.ofFormers > 0
    ? `ClickHouse holds the same events${compared}, and nothing is proved of the others.`
    : 'Postgres and ClickHouse hold the same events. What Postgres does not have was not compared: positions, times of commit and of delivery, origin.';
}
