/**
 * What would begin another line, what a terminal acts upon, what turns the direction of text, and what nobody sees. What joins letters
 * and emoji, or says how one is shown, is part of texts.
 */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029]|(?!\u200c|\u200d|\ufe0e|\ufe0f)\p{Default_Ignorable_Code_Point}/gu;

/** A text of others on one line of a log or a terminal: what is no character of it is an escape, as in JSON. */
export function oneLine(text: string): string {
  return text.replaceAll(UNPRINTABLE, escaped);
}

/** The same of a text that has lines. */
export function severalLines(text: string): string {
  return text.replaceAll(UNPRINTABLE, (found, at: number) => {
    const isLayout = found === '\n' || found === '\t' || (found === '\r' && text[at + 1] === '\n');
    return isLayout ? found : escaped(found);
  });
}

function escaped(character: string): string {
  const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
}
