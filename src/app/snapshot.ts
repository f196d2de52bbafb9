import { isPlainObject, MAX_DEPTH, pathOf, type Problems, thrownName } from './problems.ts';

/**
 * Copies a context before a schema sees it, so that the schema cannot change the caller's data. Arrays, plain objects and
 * Dates are copied, each once, so that cycles stay cycles. Getters run once. Every other value stays the same value, because
 * a schema may ask for that very class.
 *
 * @param maxValues the most values that are copied: each would cost a byte of text at least
 * @returns the copy, which is of no use when a problem was added
 */
export function snapshotOf(value: unknown, path: string, maxValues: number, problems: Problems): unknown {
  try {
    return new Copier(path, maxValues, problems).copy(value, path, 1);
  } catch (error) {
    problems.add(path, `cannot be read: a getter or proxy threw ${thrownName(error)}`);
    return undefined;
  }
}

class Copier {
  readonly #path: string;
  readonly #problems: Problems;
  readonly #copies = new Map<object, object>();
  #room: number;

  constructor(path: string, maxValues: number, problems: Problems) {
    this.#path = path;
    this.#room = maxValues;
    this.#problems = problems;
  }

  copy(value: unknown, path: string, depth: number): unknown {
    if (typeof value !== 'object' || value === null) return value;
    const known = this.#copies.get(value);
    if (known !== undefined) return known;
    if (Object.getPrototypeOf(value) === Date.prototype) return new Date((value as Date).getTime());
    if (!Array.isArray(value) && !isPlainObject(value)) return value;
    if (depth > MAX_DEPTH) {
      this.#problems.add(path, `is nested deeper than ${MAX_DEPTH} levels`);
      return undefined;
    }
    return Array.isArray(value) ? this.#items(value, path, depth) : this.#properties(value, path, depth);
  }

  #items(array: unknown[], path: string, depth: number): unknown[] {
    const copy: unknown[] = [];
    this.#copies.set(array, copy);
    if (this.#affords(array.length)) {
      for (let index = 0; index < array.length; index += 1)
        copy.push(this.copy(array[index], pathOf(path, index), depth + 1));
    }
    return copy;
  }

  #properties(record: Record<string, unknown>, path: string, depth: number): object {
    const copy = Object.create(Object.getPrototypeOf(record) as object | null) as object;
    this.#copies.set(record, copy);
    const names = Object.keys(record);
    if (this.#affords(names.length)) {
      for (const name of names) {
        const value = this.copy(record[name], pathOf(path, name), depth + 1);
        // An assignment to `__proto__` would change the prototype.
        Object.defineProperty(copy, name, { value, enumerable: true, configurable: true, writable: true });
      }
    }
    return copy;
  }

  #affords(values: number): boolean {
    const had = this.#room;
    this.#room -= values;
    if (this.#room < 0 && had >= 0) this.#problems.add(this.#path, 'has too many values (OUTBOX_MAX_EVENT_BYTES)');
    return this.#room >= 0;
  }
}
