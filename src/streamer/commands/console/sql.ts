import { literal } from '../../clickhouse/literal.ts';

export interface Question {
  /** With places such as {name:String}. */
  readonly sql: string;
  readonly parameters: Readonly<Record<string, string | number>>;
}

/** The statement with its values in it, as it can be pasted into any client. */
export function readable({ sql, parameters }: Question): string {
  return sql.replaceAll(/\{(\w+):(\w+)\}/g, (place, name: string, type: string) => {
    const value = parameters[name];
    if (value === undefined) return place;
    if (type === 'Identifier') return `\`${String(value).replaceAll(/[`\\]/g, String.raw`\$&`)}\``;
    return /^U?Int\d+$/.test(type) ? String(value) : literal(String(value));
  });
}

/** A comparison of the whole position, by which a page of a list goes on. µs, LSN and number within the transaction. */
export interface Cursor {
  readonly us: string;
  readonly lsn: string;
  readonly seq: string;
}

export function cursorOf(us: string, lsn: string, seq: number | string): string {
  return `${us}.${lsn}.${seq}`;
}

/** Undefined for what is no cursor. */
export function parseCursor(text: string): Cursor | undefined {
  const [, us, lsn, seq] = /^(-?\d{1,18})\.(\d{1,20})\.(\d{1,10})$/.exec(text) ?? [];
  return us === undefined || lsn === undefined || seq === undefined ? undefined : { us, lsn, seq };
}
