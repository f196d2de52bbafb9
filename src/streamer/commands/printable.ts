import { severalLines } from '../../one-line.ts';

/* oxlint-disable no-control-regex -- they are what this file is about */
/** Colours and weights of our own (terminal.ts). */
const STYLE = /(\u001b\[(?:[12]|22|3[0-9]|90)m)/;
/** With which a screen or a line is written over; never inside a text. */
const LEAD = /^\r?(?:\u001b\[[0-9;]*[HJK])*/;

/**
 * A text as it may be written to a terminal. Names, types and messages in it are other people's: what would move the cursor, or
 * show other words than there are, becomes an escape, which JSON has as well.
 */
export function printable(text: string): string {
  const [lead = ''] = LEAD.exec(text) ?? [];
  const parts = text.slice(lead.length).split(STYLE);
  return lead + parts.map((part, index) => (index % 2 === 1 ? part : severalLines(part))).join('');
}
