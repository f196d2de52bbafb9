/** As ClickHouse escapes it in the name of a view's file, which must not be longer than 255 bytes. */
const MAX_ESCAPED = 150;

/** A name that BI tools like: `OrderPlaced`, `order.placed` and `order-placed` become `order_placed`. Letters of all scripts stay. */
export function snakeCase(text: string): string {
  const words = text
    .normalize('NFC')
    .replaceAll(/(\p{Ll}|\p{N})(\p{Lu})/gu, '$1_$2')
    .replaceAll(/(\p{Lu})(\p{Lu}\p{Ll})/gu, '$1_$2')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, '_')
    .replaceAll(/^_+|_+$/g, '');
  const letters = Array.from(words.slice(0, MAX_ESCAPED).toWellFormed());
  while (encodeURIComponent(letters.join('')).length > MAX_ESCAPED) letters.pop();
  const name = letters.join('').replace(/_$/, '');
  return /^\p{L}/u.test(name) ? name : `_${name}`;
}

/** Gives each a name that no other has: the first keeps it, the next one has `_2` behind it. */
export class Names {
  readonly #taken: Set<string>;

  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken);
  }

  /** The first of these names that is free, or the last of them with a number. */
  take(...names: readonly [string, ...string[]]): string {
    const free = names.find((name) => !this.#taken.has(name)) ?? this.#numbered(names.at(-1)!);
    this.#taken.add(free);
    return free;
  }

  #numbered(name: string): string {
    for (let number = 2; ; number++) if (!this.#taken.has(`${name}_${number}`)) return `${name}_${number}`;
  }
}
