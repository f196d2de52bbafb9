import { isDate } from 'node:util/types';
import { className, isPlainObject, kindOf, pathOf, type Problems } from './problems.ts';
import { redacted, type RedactPath } from './redact.ts';

/**
 * Deeper than any real event. Postgres would take thousands, but ClickHouse types arrays by their nesting: from 149 levels
 * on it can neither merge nor, beside many other paths, insert them, and mixed ones take it time by the cube of their depth.
 */
const MAX_DEPTH = 100;

/** What an outbox adds to every context, and takes from it. */
export interface Amendments {
  /** Plain JSON data, under the context's own properties. */
  readonly defaults?: Readonly<Record<string, unknown>> | undefined;
  readonly redact?: readonly RedactPath[] | undefined;
}

/** Stands for a value that has already been named as a problem. */
const FAILED: unknown = Symbol('failed');

/** An object on the way from the context to a value: enough to name its path and to see a cycle, built only downwards. */
interface Place {
  readonly holder: object;
  readonly parent: Place | undefined;
  /** The key of `holder` in its parent. */
  readonly key: string | number;
  readonly depth: number;
}

/**
 * Turns a context into JSON text, as JSON.stringify does, except that what JSON.stringify would lose in silence is a
 * problem with its path: NaN and the infinities, functions, symbols, an invalid Date, a Map, a Set and every other class
 * instance without a toJSON. Undefined properties are left out, undefined array items become null.
 *
 * The text holds no raw control character and no lone surrogate (both are escaped), which the statement relies on.
 *
 * Defaults are merged, and values redacted, in what JSON would show: behind every toJSON, and an undefined property is none.
 *
 * @param path what the problems call the context
 * @param maxBytes the most that the text may have, in UTF-8
 * @returns the text and its bytes, or undefined when a problem was added
 */
export function serialiseContext(
  context: unknown,
  path: string,
  maxBytes: number,
  problems: Problems,
  { defaults, redact = [] }: Amendments = {},
): { text: string; bytes: number } | undefined {
  const before = problems.count;
  try {
    const plain = new Walk(path, maxBytes, problems).root(context);
    if (problems.count > before) return undefined;
    const whole = defaults === undefined ? plain : { ...defaults, ...present(plain as object) };
    const text = stringify(redacted(whole, redact));
    const bytes = text === undefined ? Infinity : Buffer.byteLength(text);
    if (text === undefined || bytes > maxBytes) problems.add(path, tooLarge(maxBytes));
    // JSON.rawJSON('1') is an object, but not as text.
    else if (!text.startsWith('{')) problems.add(path, 'is not an object');
    else return { text, bytes };
  } catch (error) {
    // An error of the caller's own getter or proxy may quote anything, so only its class is told.
    problems.add(path, `cannot be read: a getter or proxy threw ${thrownName(error)}`);
  }
  return undefined;
}

/** Without the properties that JSON would leave out. */
function present(record: object): object {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}

/** Undefined when the text is longer than a string can be. */
function stringify(plain: unknown): string | undefined {
  try {
    return JSON.stringify(plain);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function tooLarge(maxBytes: number): string {
  return `is larger than ${maxBytes} bytes (OUTBOX_MAX_EVENT_BYTES)`;
}

function thrownName(error: unknown): string {
  return typeof error === 'object' && error !== null ? className(error) : `a ${typeof error}`;
}

/**
 * Looks at every value once, before JSON.stringify: its replacer, which could do the same, takes it off its fast path.
 *
 * Whatever has a toJSON is replaced by the result, in a copy of its holder, so that toJSON runs once and what was looked
 * at is what is written. Without any, the context itself is returned and nothing is copied.
 */
class Walk {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #problems: Problems;
  /** Values seen. Each costs a byte of text at least, so more than maxBytes ends the walk (shared references multiply). */
  #seen = 0;

  constructor(path: string, maxBytes: number, problems: Problems) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#problems = problems;
  }

  root(context: unknown): unknown {
    const value = typeof context === 'object' && context !== null ? this.#resolved(context, undefined, '') : context;
    if (value === FAILED) return undefined;
    if (value === undefined) {
      this.#problems.add(this.#path, 'is missing');
    } else if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.#problems.add(this.#path, `is ${kindOf(value)}, not an object`);
    } else {
      return this.#members(value, undefined, '');
    }
    return undefined;
  }

  #value(value: unknown, parent: Place, key: string | number): unknown {
    if (typeof value === 'string' || typeof value === 'boolean' || value === undefined || value === null) return value;
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) this.#problem(parent, key, `is ${value}`);
      return value;
    }
    // JSON.stringify asks BigInt.prototype.toJSON too, which some applications define.
    if (typeof value === 'object' || (typeof value === 'bigint' && hasToJson(value))) {
      const resolved = this.#resolved(value, parent, key);
      return resolved === FAILED ? value : this.#result(resolved, parent, key);
    }
    this.#problem(parent, key, `is a ${typeof value}`);
    return value;
  }

  /** JSON.stringify asks the result of a toJSON for no toJSON of its own. */
  #result(value: unknown, parent: Place, key: string | number): unknown {
    if (typeof value === 'object' && value !== null) return this.#members(value, parent, key);
    if (typeof value !== 'bigint') return this.#value(value, parent, key);
    this.#problem(parent, key, 'is a bigint');
    return value;
  }

  /** The result of toJSON where there is one, else the value itself; FAILED after a problem. */
  #resolved(value: object | bigint, parent: Place | undefined, key: string | number): unknown {
    if (!hasToJson(value)) return value;
    if (isDate(value) && Number.isNaN(value.getTime())) {
      this.#problem(parent, key, 'is an invalid Date');
      return FAILED;
    }
    try {
      return value.toJSON(String(key));
    } catch (error) {
      this.#problem(parent, key, `cannot be serialised: its toJSON threw ${thrownName(error)}`);
      return FAILED;
    }
  }

  /** Looks at an array's items or a plain object's properties. */
  #members(holder: object, parent: Place | undefined, key: string | number): unknown {
    if (this.#seen > this.#maxBytes) return holder;
    const depth = parent === undefined ? 1 : parent.depth + 1;
    if (depth > MAX_DEPTH) {
      this.#problem(parent, key, `is nested deeper than ${MAX_DEPTH} levels`);
      return holder;
    }
    for (let above = parent; above !== undefined; above = above.parent) {
      if (above.holder === holder) {
        this.#problem(parent, key, 'is a cycle: it contains itself');
        return holder;
      }
    }

    const place: Place = { holder, parent, key, depth };
    if (Array.isArray(holder)) return this.#items(holder, place);
    if (isPlainObject(holder)) return this.#properties(holder, place);
    this.#problem(parent, key, `is ${kindOf(holder)}, which JSON would lose: give it a toJSON or pass plain data`);
    return holder;
  }

  #properties(record: Record<string, unknown>, place: Place): object {
    const names = Object.keys(record);
    if (!this.#afford(names.length)) return record;
    let copy: Record<string, unknown> | undefined;
    for (const name of names) {
      const value = record[name];
      const plain = this.#value(value, place, name);
      // A spread makes `__proto__` an own property, so this assignment can't reach the setter.
      if (plain !== value) (copy ??= { ...record })[name] = plain;
    }
    return copy ?? record;
  }

  #items(array: unknown[], place: Place): unknown[] {
    if (!this.#afford(array.length)) return array;
    let copy: unknown[] | undefined;
    for (let index = 0; index < array.length; index += 1) {
      const value = array[index];
      const plain = this.#value(value, place, index);
      if (plain !== value) (copy ??= [...array])[index] = plain;
    }
    return copy ?? array;
  }

  #afford(values: number): boolean {
    const before = this.#seen;
    this.#seen += values;
    if (this.#seen <= this.#maxBytes) return true;
    if (before <= this.#maxBytes) this.#problems.add(this.#path, tooLarge(this.#maxBytes));
    return false;
  }

  #problem(parent: Place | undefined, key: string | number, fault: string): void {
    const keys: (string | number)[] = [];
    if (parent !== undefined) keys.unshift(key);
    for (let place = parent; place?.parent !== undefined; place = place.parent) keys.unshift(place.key);
    this.#problems.add(keys.reduce<string>(pathOf, this.#path), fault);
  }
}

function hasToJson(value: object | bigint): value is (object | bigint) & { toJSON(key: string): unknown } {
  return 'toJSON' in Object(value) && typeof Reflect.get(Object(value), 'toJSON') === 'function';
}
