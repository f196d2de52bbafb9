/** What stands in the row where a value was redacted, whatever kind of value that was. */
export const REDACTED = '[redacted]';

/** Every item of an array, or every value of an object. */
const EVERY: unique symbol = Symbol('[*]');

/** The way to the values that are redacted. */
export type RedactPath = readonly (string | typeof EVERY)[];

const START = /(?:([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;
const NEXT = /(?:\.([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;

/**
 * Reads `email`, `payment.card`, `items[*].note`, `["odd key"]`; undefined when it is none of these. An index is none, also in
 * quotes: it would leave the other items as they are, and is `[*]` in an object too.
 */
export function parseRedactPath(text: unknown): RedactPath | undefined {
  if (typeof text !== 'string' || text === '') return undefined;
  const steps: (string | typeof EVERY)[] = [];
  for (let at = 0; at < text.length;) {
    const step = at === 0 ? START : NEXT;
    step.lastIndex = at;
    const match = step.exec(text);
    if (match === null) return undefined;
    const [whole, name, bracket = ''] = match;
    const key = name ?? (bracket === '*' ? EVERY : unquoted(bracket));
    if (key === undefined || (typeof key === 'string' && /^\d+$/.test(key))) return undefined;
    steps.push(key);
    at += whole.length;
  }
  return steps;
}

function unquoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

/**
 * Replaces what the paths lead to, in place. A name that meets an array is looked for in each of its items: a forgotten `[*]`
 * must not let a value through. What is not there stays away.
 *
 * @param value plain JSON data, of which nothing is shared
 */
export function redact(value: unknown, paths: readonly RedactPath[]): void {
  for (const path of paths) along(value, path, 0);
}

function along(value: unknown, path: RedactPath, at: number): void {
  const step = path[at];
  if (step === undefined || typeof value !== 'object' || value === null) return;
  if (Array.isArray(value) && step !== EVERY) {
    for (const item of value as unknown[]) along(item, path, at);
    return;
  }
  const holder = value as Record<string, unknown>;
  for (const key of step === EVERY ? Object.keys(holder) : [step]) {
    // What JSON leaves out stays away. An own `__proto__` is a property like any other.
    if (!Object.prototype.propertyIsEnumerable.call(holder, key) || holder[key] === undefined) continue;
    if (at < path.length - 1) along(holder[key], path, at + 1);
    else holder[key] = REDACTED;
  }
}
