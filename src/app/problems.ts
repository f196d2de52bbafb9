/**
 * How deep a context may be: deeper than any real event. Postgres would take thousands of levels. ClickHouse has a type for
 * each depth of an array. From 149 levels on it cannot merge such arrays, nor insert them beside many other paths. For arrays
 * of mixed values its time grows with the cube of the depth: the table types no arrays nested more than 10 deep.
 */
export const MAX_DEPTH = 100;

/** What is wrong with the events of one call: paths and kinds of values, never a value. */
export class Problems {
  /** Enough to fix a call. One bug in a loop over 50,000 events should not make a log line of 4 MB. */
  static readonly LIMIT = 100;
  /** Of a path, whose keys may be an end user's. */
  static readonly MAX_PATH = 512;

  #count = 0;
  readonly #named: string[] = [];

  /** How many were found, those beyond the limit included. */
  get count(): number {
    return this.#count;
  }

  /** @param path and `fault` are functions where their text costs something: they are asked only for what is named */
  add(path: string | (() => string), fault: string | (() => string)): void {
    if (this.#count < Problems.LIMIT) this.#name(path, fault);
    this.#count += 1;
  }

  #name(path: string | (() => string), fault: string | (() => string)): void {
    const where = typeof path === 'string' ? path : path();
    const shown = where.length > Problems.MAX_PATH ? `${where.slice(0, Problems.MAX_PATH)}…` : where;
    this.#named.push(`${shown}: ${typeof fault === 'string' ? fault : fault()}`);
  }

  /** One line a problem, in the order found. */
  list(): string[] {
    const rest = this.#count - this.#named.length;
    return rest === 0 ? this.#named : [...this.#named, `… and ${rest} more`];
  }
}

/** Names a value's kind, for a problem: `a string`, `null`, `an instance of Map`. Never the value. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (Array.isArray(value)) return 'an array';
  if (isRawJson(value)) return 'a raw JSON text';
  if (typeof value === 'object') return isPlainObject(value) ? 'an object' : `an instance of ${className(value)}`;
  return `a ${typeof value}`;
}

/**
 * Whether an object is made by `{}`, Object.create(null) or JSON.parse, in this realm or another (jest runs tests in a realm
 * of its own): it has no prototype, or its prototype has none. A raw JSON text has no prototype, but is no plain object.
 */
export function isPlainObject(value: object): value is Record<string, unknown> {
  if (isRawJson(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

/** Whether JSON.rawJSON made it, which not every Node has. JSON.stringify writes such a text without a check. */
export function isRawJson(value: unknown): boolean {
  return (JSON as { isRawJSON?: (value: unknown) => boolean }).isRawJSON?.(value) === true;
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'then') === 'function';
}

/** Names what was thrown, never its message: it may quote anything. */
export function thrownName(error: unknown): string {
  return typeof error === 'object' && error !== null ? className(error) : `a ${typeof error}`;
}

/** The name of an object's class, as its author wrote it. */
export function className(value: object): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  const made: unknown = typeof prototype === 'object' && prototype !== null ? prototype.constructor : undefined;
  const name = typeof made === 'function' ? made.name : undefined;
  return typeof name === 'string' && name !== '' ? name.slice(0, 64) : 'an unnamed class';
}

/** Appends a key to a path: `.key`, or `["odd key"]`. A long key is shortened, so that it cannot flood a log line. */
export function pathOf(path: string, key: string | number): string {
  if (typeof key === 'number') return `${path}[${key}]`;
  if (/^[\p{ID_Start}$_][\p{ID_Continue}$]{0,63}$/u.test(key)) return `${path}.${key}`;
  return `${path}[${JSON.stringify(key.length > 64 ? `${key.slice(0, 64)}…` : key)}]`;
}
