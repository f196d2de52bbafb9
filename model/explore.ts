/** What can happen in a state: each step leads to a state of its own. */
export interface Step<S> {
  readonly name: string;
  /** Says more than the name; asked for only when a trace is printed. */
  readonly detail: (() => string) | undefined;
  readonly next: S;
}

export interface Model<S> {
  initial(): S;
  /** In an order that depends on the state alone: a trace is remembered as the numbers of its steps. */
  steps(state: S): Step<S>[];
  /** The same for states that differ in nothing that matters. */
  key(state: S): string;
  /** What is wrong with the state; the kind comes first, up to a colon. */
  violation(state: S): string | undefined;
  /** Everything that was to be done is done. */
  isGood(state: S): boolean;
}

export interface Result {
  readonly states: number;
  /** The kind of what is wrong; `holds` when nothing is, `unfinished` when there were more states than allowed. */
  readonly outcome: string;
  readonly violation: string | undefined;
  /** The shortest way to it. */
  readonly trace: readonly string[];
}

/**
 * Visits every reachable state, breadth first, so that the first violation found is one that takes the fewest steps. Then
 * asks whether a good state stays reachable from each of them: `stuck` when not.
 */
export function explore<S>(model: Model<S>, maxStates: number): Result {
  const numbers = new Map<string, number>();
  const parents = new Ints();
  const ordinals = new Ints();
  const from = new Ints();
  const to = new Ints();
  const good: number[] = [];
  let level: S[] = [];
  const visit = (state: S, key: string, parent: number, ordinal: number): void => {
    if (model.isGood(state)) good.push(numbers.size);
    numbers.set(key, numbers.size);
    parents.push(parent);
    ordinals.push(ordinal);
    level.push(state);
  };
  const result = (outcome: string, violation?: string, last?: number): Result => ({
    states: numbers.size,
    outcome,
    violation,
    trace: last === undefined ? [] : traceTo(model, parents, ordinals, last),
  });

  const first = model.initial();
  visit(first, model.key(first), -1, -1);
  for (let at = 0; level.length > 0;) {
    const states = level;
    level = [];
    for (const state of states) {
      for (const [ordinal, { next }] of model.steps(state).entries()) {
        const key = model.key(next);
        let number = numbers.get(key);
        if (number === undefined) {
          number = numbers.size;
          visit(next, key, at, ordinal);
          const violation = model.violation(next);
          if (violation !== undefined) return result(violation.split(':')[0]!, violation, number);
          if (number >= maxStates) return result('unfinished');
        }
        from.push(at);
        to.push(number);
      }
      at++;
    }
  }
  const stuck = firstThatReachesNone(numbers.size, from, to, good);
  return stuck === undefined ? result('holds') : result('stuck', 'stuck: no way from here to a good end', stuck);
}

function traceTo<S>(model: Model<S>, parents: Ints, ordinals: Ints, last: number): string[] {
  const path: number[] = [];
  for (let at = last; parents.at(at) >= 0; at = parents.at(at)) path.unshift(ordinals.at(at));
  const trace: string[] = [];
  let state = model.initial();
  for (const ordinal of path) {
    const { name, detail, next } = model.steps(state)[ordinal]!;
    trace.push(detail === undefined ? name : `${name}: ${detail()}`);
    state = next;
  }
  return trace;
}

function firstThatReachesNone(states: number, from: Ints, to: Ints, good: readonly number[]): number | undefined {
  // the edges into state n are into[first[n]] … into[first[n + 1] - 1]
  const first = new Int32Array(states + 1);
  for (let edge = 0; edge < to.length; edge++) first[to.at(edge) + 1]!++;
  for (let n = 0; n < states; n++) first[n + 1]! += first[n]!;
  const into = new Int32Array(to.length);
  const filled = first.slice();
  for (let edge = 0; edge < to.length; edge++) into[filled[to.at(edge)]!++] = from.at(edge);
  const reaches = new Uint8Array(states);
  const stack = [...good];
  for (const n of stack) reaches[n] = 1;
  for (let n = stack.pop(); n !== undefined; n = stack.pop()) {
    for (let edge = first[n]!; edge < first[n + 1]!; edge++) {
      const before = into[edge]!;
      if (reaches[before] === 1) continue;
      reaches[before] = 1;
      stack.push(before);
    }
  }
  const stuck = reaches.indexOf(0);
  return stuck === -1 ? undefined : stuck;
}

/** A growing list of 32-bit integers. */
class Ints {
  #values = new Int32Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const wider = new Int32Array(this.length * 2);
      wider.set(this.#values);
      this.#values = wider;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index]!;
  }
}
