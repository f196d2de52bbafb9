import { isDate } from 'node:util/types';
import { isPlainObject, isRawJson, kindOf, MAX_DEPTH, pathOf, type Problems, thrownName } from './problems.ts';
import { pathOfTwo } from './paths.ts';
import { redact as redactIn, type RedactPath } from './redact.ts';

/** What an outbox adds to every context, and what it redacts there. */
export interface Amendments {
  /** Plain JSON data, under the context's own properties. */
  readonly defaults?: Readonly<Record<string, unknown>> | undefined;
  readonly redact?: readonly RedactPath[] | undefined;
}

/** Stands for a value that has already been named as a problem. */
const FAILED: unknown = Symbol('failed');

/** An object between the context and a value. The chain of parents gives the path of a problem, and shows a cycle. */
interface Place {
  readonly holder: object;
  readonly parent: Place | undefined;
  /** The key of `holder` in its parent. */
  readonly key: string | number;
  readonly depth: number;
}

/**
 * Turns a context into JSON text, as JSON.stringify does, with one difference. JSON.stringify loses some values silently;
 * here each of them is a problem with its path: NaN and the infinities, functions, symbols, an invalid Date, a Map, a Set
 * and every other class instance without a toJSON. Undefined properties are left out, undefined array items become null.
 *
 * The text holds no raw control character: they are escaped, and the statement relies on that. A lone surrogate, which is no
 * character, becomes U+FFFD, and two properties of one path (`a.b` beside a `b` in `a`) are a problem: for either of them
 * ClickHouse's JSON type would refuse the whole context, and no query by path would find the event.
 *
 * Defaults are merged, and values redacted, after every toJSON has run. A property that is undefined does not count.
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
    const walk = new Walk(path, maxBytes, problems);
    const plain = walk.root(context);
    if (problems.count > before) return undefined;
    const whole = defaults === undefined ? plain : withoutToJson({ ...defaults, ...present(plain as object) });
    redactIn(whole, redact);
    const twice = walk.hasDottedKeys ? pathOfTwo(whole) : undefined;
    if (twice !== undefined) {
      problems.add(
        path,
        `has two properties of the path ${twice}: ClickHouse tells a dot in a key from one between keys no more`,
      );
      return undefined;
    }
    const text = stringify(whole);
    const bytes = text === undefined ? Infinity : Buffer.byteLength(text);
    if (text === undefined || bytes > maxBytes) problems.add(path, tooLarge(maxBytes));
    else return { text, bytes };
  } catch (error) {
    // The caller's own getter or proxy threw this. Its message may quote anything, so only its class is told.
    problems.add(path, `cannot be read: a getter or proxy threw ${thrownName(error)}`);
  }
  return undefined;
}

/** A copy without the properties that JSON leaves out. */
function present(record: object): object {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}

/** @returns undefined when the text is longer than a string can be */
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

/**
 * Reads every value once, checks it and copies it. A value with a toJSON is replaced by its result. Each getter and each
 * toJSON runs once, so the values that were checked are the values that are redacted and written.
 *
 * A replacer of JSON.stringify could do the same checks, but JSON.stringify is much slower with one.
 */
class Walk {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #problems: Problems;
  /** Two keys may be one path. */
  hasDottedKeys = false;
  /** Values seen so far. Each costs a byte of text at least, so more than maxBytes values end the walk. */
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
    if (typeof value === 'string') return wellFormed(value);
    if (typeof value === 'boolean' || value === undefined || value === null) return value;
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) this.#problem(parent, key, `is ${value}`);
      return value;
    }
    // JSON.stringify calls BigInt.prototype.toJSON too, which some applications define.
    if (typeof value === 'object' || (typeof value === 'bigint' && hasToJson(value))) {
      const resolved = this.#resolved(value, parent, key);
      return resolved === FAILED ? value : this.#result(resolved, parent, key);
    }
    this.#problem(parent, key, `is a ${typeof value}`);
    return value;
  }

  /** As JSON.stringify, this does not call a toJSON that the result of a toJSON has. */
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

  /** Checks an array's items or a plain object's properties. */
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
    if (isRawJson(holder)) this.#problem(parent, key, 'is a raw JSON text, which cannot be checked: pass plain data');
    else this.#problem(parent, key, `is ${kindOf(holder)}, which JSON would lose: give it a toJSON or pass plain data`);
    return holder;
  }

  #properties(record: Record<string, unknown>, place: Place): object {
    const names = Object.keys(record);
    if (!this.#afford(names.length)) return record;
    const copy: Record<string, unknown> = {};
    for (const key of names) {
      const value = this.#value(record[key], place, key);
      const name = wellFormed(key);
      if (name.includes('.')) this.hasDottedKeys = true;
      if (name !== key && Object.hasOwn(copy, name))
        this.#problem(place, name, 'stands for two properties that differ in lone surrogates alone');
      // An assignment to `__proto__` would change the prototype.
      if (name === '__proto__')
        Object.defineProperty(copy, name, { value, enumerable: true, configurable: true, writable: true });
      else copy[name] = value;
    }
    return withoutToJson(copy);
  }

  #items(array: unknown[], place: Place): unknown[] {
    const { length } = array;
    if (!this.#afford(length)) return array;
    const copy: unknown[] = [];
    for (let index = 0; index < length; index += 1) copy.push(this.#value(array[index], place, index));
    return withoutToJson(copy);
  }

  /** Counts values, and tells whether the walk may go on. Shared references can multiply them without end. */
  #afford(values: number): boolean {
    const before = this.#seen;
    this.#seen += values;
    if (this.#seen <= this.#maxBytes) return true;
    if (before <= this.#maxBytes) this.#problems.add(this.#path, tooLarge(this.#maxBytes));
    return false;
  }

  #problem(parent: Place | undefined, key: string | number, fault: string): void {
    this.#problems.add(() => this.#pathTo(parent, key), fault);
  }

  #pathTo(parent: Place | undefined, key: string | number): string {
    const keys: (string | number)[] = [];
    if (parent !== undefined) keys.unshift(key);
    for (let place = parent; place?.parent !== undefined; place = place.parent) keys.unshift(place.key);
    return keys.reduce<string>(pathOf, this.#path);
  }
}

function wellFormed(text: string): string {
  return text.isWellFormed() ? text : text.toWellFormed();
}

/** Hides a toJSON that an application has given to every object or array: JSON.stringify would call it a second time. */
function withoutToJson<Copy extends object>(copy: Copy): Copy {
  if (hasToJson(copy)) Object.defineProperty(copy, 'toJSON', { value: undefined });
  return copy;
}

function hasToJson(value: object | bigint): value is (object | bigint) & { toJSON(key: string): unknown } {
  return 'toJSON' in Object(value) && typeof Reflect.get(Object(value), 'toJSON') === 'function';
}
