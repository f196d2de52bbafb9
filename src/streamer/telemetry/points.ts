import type { Point } from './metrics.ts';

/** Nothing where it is not known. */
export function known(number: number | undefined): Point[] {
  return number === undefined ? [] : [[number]];
}

export function each(attribute: string, values: readonly string[], read: (value: string) => number): Point[] {
  return values.map((one) => [read(one), { [attribute]: one }]);
}

export function oneOf(attribute: string, values: readonly string[], current: string): Point[] {
  return each(attribute, values, (one) => Number(one === current));
}

export function tally(attribute: string, counts: Readonly<Record<string, number>>): Point[] {
  return each(attribute, Object.keys(counts), (key) => counts[key]!);
}

/** Of an attribute. */
export function value(words: string): string {
  return words.replaceAll(' ', '_');
}
