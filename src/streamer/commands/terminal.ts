import { fstatSync } from 'node:fs';
import { stripVTControlCharacters, styleText } from 'node:util';

const DEFAULT_COLUMNS = 80;
const FAR_INDENT = 4;

/** Colours and the like, for stdout. Node before 22.13 would write them into files, and newer ones do with FORCE_COLOR. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  const reader = { isTTY: process.stdout.isTTY, isFile: isFile(process.stdout.fd) };
  return isColoured(reader, process.env) ? styleText(style, text, { validateStream: false }) : text;
}

/** A file never gets colours. A pipe gets them with FORCE_COLOR, for the pages that show the log of a build. */
export function isColoured(
  { isTTY, isFile: isInFile }: { readonly isTTY: boolean | undefined; readonly isFile: boolean },
  { NO_COLOR = '', FORCE_COLOR: forced, TERM }: NodeJS.ProcessEnv,
): boolean {
  if (isInFile || NO_COLOR !== '') return false;
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  return isTTY === true && TERM !== 'dumb';
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** How wide what is written there may be. Only a terminal has a width: in a pipe or a file, a line stays whole for who searches it. */
export function columnsOf({ isTTY, columns }: Pick<NodeJS.WriteStream, 'isTTY' | 'columns'>): number {
  return isTTY ? columns || DEFAULT_COLUMNS : Infinity;
}

/** Text for people, as wide as the terminal that reads it. */
export function say(text: string, stream: NodeJS.WriteStream = process.stdout): void {
  stream.write(fold(text, columnsOf(stream)));
}

/** Blanks, but for those between backticks: a command that is to be copied stays whole. */
const BREAKABLE = / (?=(?:[^`]*`[^`]*`)*[^`]*$)/;

/**
 * Breaks lines between words. What follows stands below the first column that has text behind a gap of two blanks, as in a list of
 * names and what they mean, or below the line's beginning: further in, where that column is far to the right.
 */
export function fold(text: string, columns: number): string {
  return text
    .split('\n')
    .map((line) => foldLine(line, columns))
    .join('\n');
}

function foldLine(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  if (plain.length <= columns) return line;
  const [gap = ''] = /^ *\S.*? {2,}(?=\S)/.exec(plain) ?? [];
  const [indent = ''] = /^ *(?:- )?/.exec(plain) ?? [];
  // a column that begins far to the right would leave no room for words
  const column = 2 * gap.length < columns ? gap.length : indent.length + FAR_INDENT;
  const hang = ' '.repeat(gap === '' ? indent.length : column);
  const lines: string[] = [];
  let current: string | undefined;
  for (const word of line.split(BREAKABLE)) {
    const longer: string = current === undefined ? word : `${current} ${word}`;
    if (current === undefined || stripVTControlCharacters(longer).length <= columns || current.trim() === '')
      current = longer;
    else {
      lines.push(current.trimEnd());
      current = `${hang}${word}`;
    }
  }
  return [...lines, current ?? ''].join('\n');
}
