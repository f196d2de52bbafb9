/* oxlint-disable no-control-regex -- they are what this file is about */
/** What would begin another line, what a terminal acts upon, what turns the direction of text, and what nobody sees. */
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A text of others on one line of a log or a terminal: what is no character of it is an escape, as in JSON. */
export function oneLine(text: string): string {
  return text.replaceAll(UNPRINTABLE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
