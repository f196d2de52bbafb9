/** What stands in the row where a value was redacted, whatever kind of value that was. */
export const REDACTED = '[redacted]';

/** Every item of an array, or every value of an object. */
const EVERY: unique symbol = Symbol('[*]');

/** The way to the values that are redacted. */
export type RedactPath = readonly (string | typeof EVERY)[];

const START = /(?:([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;
const NEXT = /(?:\.([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;

/** Reads `email`, `payment.card`, `items[*].note`, `["odd key"]`; undefined when it is none of these. */
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
    if (key === undefined) return undefined;
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
 * Replaces what the paths lead to, in copies of its holders. A name that meets an array is looked for in each of its items:
 * a forgotten `[*]` must not let a value through. What is not there stays away.
 */
export function redacted(value: unknown, paths: readonly RedactPath[]): unknown {
  return paths.reduce((plain, path) => along(plain, path, 0), value);
}

function along(value: unknown, path: RedactPath, at: number): unknown {
  const step = path[at];
  if (step === undefined) return value === undefined ? undefined : REDACTED;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown) => along(item, path, step === EVERY ? at + 1 : at));
  if (step === EVERY)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, along(inner, path, at + 1)]));
  if (!Object.hasOwn(value, step)) return value;
  // A computed `__proto__` is an own property, as it is in the JSON.
  return { ...value, [step]: along(Reflect.get(value, step), path, at + 1) };
}
