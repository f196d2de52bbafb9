import { styleText } from 'node:util';

/** Colours and the like, where a terminal reads stdout and NO_COLOR does not forbid it. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
