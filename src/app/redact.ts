/** Replaces a redacted value in the row, whatever kind of value it was. */
export const REDACTED = '[redacted]';

/** Every item of an array, or every value of an object. */
const EVERY: unique symbol = Symbol('[*]');

/** The path of the values to redact. No name has a dot: to ClickHouse, one in a key is one between keys. */
export type RedactPath = readonly (string | typeof EVERY)[];

const START = /(?:([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;
const NEXT = /(?:\.([\p{ID_Start}$_][\p{ID_Continue}$-]*)|\[(\*|"(?:[^"\\]|\\.)+")\])/uy;

/**
 * Reads a path such as `email`, `payment.card`, `items[*].note` or `["odd key"]`. An index is not allowed, not even in quotes:
 * it would redact one item and leave the others. `[*]` stands for it, also in an object whose keys are numbers.
 *
 * @returns undefined when the text is no path
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
    if (key === EVERY) steps.push(EVERY);
    else steps.push(...key.split('.'));
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
 * Replaces the values at the paths, in place. When a name meets an array, it is applied to each item, because a forgotten
 * `[*]` must not let a value through. A key with dots stands for as many keys. A path that leads nowhere adds nothing.
 *
 * @param value plain JSON data that nobody else holds
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
    // A property that JSON leaves out must not appear. An own `__proto__` is a property like any other.
    if (!Object.prototype.propertyIsEnumerable.call(holder, key) || holder[key] === undefined) continue;
    if (at < path.length - 1) along(holder[key], path, at + 1);
    else holder[key] = REDACTED;
  }
  if (Array.isArray(value)) return;
  for (const key of Object.keys(holder)) {
    if (!key.includes('.') || holder[key] === undefined) continue;
    for (const end of endsOf(key.split('.'), path, at)) {
      if (end < path.length) along(holder[key], path, end);
      else holder[key] = REDACTED;
    }
  }
}

/** How far a key of several names leads. `[*]` takes one of them or more; what lies below the end of the path is redacted with it. */
function endsOf(names: readonly string[], path: RedactPath, from: number): Iterable<number> {
  let ends = new Set([from]);
  for (const name of names) {
    const next = new Set<number>();
    for (const at of ends) {
      if (path[at] === EVERY || path[at] === name) next.add(at + 1);
      if (at === path.length || (at > from && path[at - 1] === EVERY)) next.add(at);
    }
    if (next.size === 0) return next;
    ends = next;
  }
  return ends;
}
