import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Randomness from a seed (mulberry32): the same seed, the same throws. What runs beside something else takes dice of its own,
 * so that its throws do not depend on who comes first.
 */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 inclusive to 1 exclusive. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /**
   * Lets so many ms pass, both ends included. How long a fault lasts and how late a step of it comes are drawn like its kind;
   * there is nothing that could be waited for instead.
   */
  async pause(least: number, most: number): Promise<void> {
    await sleep(this.between(least, most));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)]!;
  }

  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list];
    return list.map(() => rest.splice(this.between(0, rest.length - 1), 1)[0]!);
  }

  seed(): number {
    return this.between(0, 0xffff_ffff);
  }
}
