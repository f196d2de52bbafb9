/** A long key is no typo of a short name, and the table below is quadratic. */
const MAX_LENGTH = 64;
/** More edits than this part of a name are no typo of it. */
export const TYPO_SHARE = 1 / 3;

/**
 * The name among `names` that a misspelt one most likely means, and how many edits lie between; undefined when each takes
 * more edits than `share` of its length.
 */
export function nearest(
  word: string,
  names: readonly string[],
  share = Infinity,
): { name: string; edits: number } | undefined {
  if (word.length > MAX_LENGTH) return undefined;
  let best: { name: string; edits: number } | undefined;
  for (const name of names) {
    const edits = distance(simple(word), simple(name));
    if (edits < (best?.edits ?? Infinity) && edits <= name.length * share) best = { name, edits };
  }
  return best;
}

/** `metadata_version` is as near to `metadataVersion` as can be. */
function simple(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, '');
}

/** Levenshtein's distance: insertions, deletions and substitutions. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
