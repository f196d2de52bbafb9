/** A text of others on one line: what would begin another is an escape, as in JSON. */
export function oneLine(text: string): string {
  return text.replaceAll(
    /[\r\n\t\v\f\u0085\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
