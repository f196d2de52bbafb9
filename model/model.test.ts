import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { explore, type Model } from './explore.ts';
import { Protocol } from './protocol.ts';
import { BREAKS } from './rules.ts';
import { LARGE, SMALL } from './scenarios.ts';

const MAX_STATES = 100_000;

test.each(SMALL)('explore of the scenario $name finds: $expected', { timeout: 60_000 }, ({ plan, expected }) => {
  const { outcome, trace, violation } = explore(new Protocol(plan), MAX_STATES);
  expect(outcome === expected ? outcome : [violation, ...trace].join('\n')).toBe(expected);
});

test('the scenarios break each rule of BREAKS at least once', () => {
  const broken = new Set(SMALL.flatMap(({ plan }) => plan.broken ?? []));
  expect(broken).toEqual(new Set(Object.keys(BREAKS)));
});

test('docs/protocol-model.md lists each scenario with its outcome and its invariants', async () => {
  const text = await readFile(new URL('../docs/protocol-model.md', import.meta.url), 'utf8');
  const scenarios = text.slice(text.indexOf('\n## Scenarios'));
  const rows = scenarios.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  const documented = rows.filter(([, name]) => name?.startsWith('`')).map((cells) => cells.slice(1, -1));
  const expected = [...SMALL, ...LARGE].map(({ name, plan, expected: outcome, invariants }) => {
    const numbers = invariants.join(', ');
    return plan.broken === undefined
      ? [`\`${name}\``, outcome, numbers]
      : [`\`${name}\``, plan.broken.map((rule) => BREAKS[rule]).join('; '), outcome, numbers];
  });
  expect(documented).toEqual(expected);
});

/** Counts up by one or two, not beyond ten. */
class Counter implements Model<number> {
  readonly #bad: number;
  readonly #good: number;

  constructor(bad: number, good: number) {
    this.#bad = bad;
    this.#good = good;
  }

  initial(): number {
    return 0;
  }

  steps(state: number): { name: string; detail: undefined; next: number }[] {
    return [1, 2]
      .filter((by) => state + by <= 10)
      .map((by) => ({ name: `+${by}`, detail: undefined, next: state + by }));
  }

  key(state: number): string {
    return String(state);
  }

  violation(state: number): string | undefined {
    return state === this.#bad ? `bad: ${state}` : undefined;
  }

  isGood(state: number): boolean {
    return state === this.#good;
  }
}

test('explore finds the shortest path to a bad state', () => {
  expect(explore(new Counter(5, 10), 100)).toMatchObject({ outcome: 'bad', trace: ['+1', '+2', '+2'] });
});

test('explore finds the first state from which no path leads to a good end', () => {
  expect(explore(new Counter(11, 10), 100)).toMatchObject({ outcome: 'holds', states: 11 });
  expect(explore(new Counter(11, 3), 100)).toMatchObject({ outcome: 'stuck', trace: ['+2', '+2'] });
});

test('explore reports "unfinished" when it has not seen all states', () => {
  expect(explore(new Counter(11, 10), 5)).toMatchObject({ outcome: 'unfinished' });
});
