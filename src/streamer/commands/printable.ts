/* oxlint-disable no-control-regex -- they are what this file is about */
/** What a terminal acts upon: control characters, those that turn the direction of text, and those that nobody sees. */
const UNPRINTABLE =
  /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
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
  return lead + parts.map((part, index) => (index % 2 === 1 ? part : part.replaceAll(UNPRINTABLE, escaped))).join('');
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
