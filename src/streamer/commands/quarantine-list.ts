import { oneLine } from '../../one-line.ts';

/** An event of the quarantine, without its contents. */
export interface Listed {
  id: string;
  lsn: string;
  seq: string;
  event_id: string;
  event_type: string;
  reason: string;
  quarantined_at: Date;
  discarded_at: Date | null;
}

/** What needs no quotes to be told from the words around it. */
const PLAIN_NAME = /^[\w.:/-]+$/;

/** The list for people: those of one type and reason stand together, the largest group first. */
export function printQuarantine(rows: readonly Listed[]): string {
  if (rows.length === 0) return 'the quarantine is empty\n';
  return [...groupsOf(rows)].map(([head, group]) => `${head}\n\n${tableOf(group)}\n`).join('\n');
}

/** A line for each group. */
export function groupLines(rows: readonly Listed[]): string[] {
  return [...groupsOf(rows).keys()];
}

function groupsOf(rows: readonly Listed[]): Map<string, Listed[]> {
  const groups = Map.groupBy(rows, headOf);
  const sorted = [...groups].toSorted(([, one], [, other]) => other.length - one.length);
  return new Map(sorted.map(([head, group]) => [`${group.length.toLocaleString('en-US')} × ${head}`, group]));
}

function headOf({ event_type: type, reason, discarded_at: discarded }: Listed): string {
  const name = PLAIN_NAME.test(type) ? type : JSON.stringify(type);
  const mark = discarded === null ? '' : ', discarded';
  return `${name}, ${oneLine(reason.replace(/^ClickHouse answered /, ''))}${mark}`;
}

function tableOf(rows: readonly Listed[]): string {
  const width = Math.max(...rows.map(({ id }) => id.length), 'id'.length);
  const lines = rows.map(
    ({ id, quarantined_at: at, event_id: event }) =>
      `  ${id.padStart(width)}  ${at.toISOString().slice(0, 'YYYY-MM-DDTHH:MM:SS'.length).replace('T', ' ')}  ${event}`,
  );
  return [`  ${'id'.padStart(width)}  quarantined (UTC)    event_id`, ...lines].join('\n');
}
