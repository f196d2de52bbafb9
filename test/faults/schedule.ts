import { Dice } from './dice.ts';
import type { Fault } from './fault.ts';

export interface Injection {
  readonly fault: Fault;
  /** Of the dice that decide everything else about it. */
  readonly seed: number;
  readonly delayMs: number;
}

/** One or two faults at once, after a pause. */
export interface Step {
  readonly pauseMs: number;
  readonly injections: readonly Injection[];
}

const PAIRED = 0.25;

/**
 * Every kind once in a random order, then again, for ever: what comes when is the seed's doing alone. Some come in pairs that
 * do not touch the same thing.
 */
export function* schedule(seed: number, faults: readonly Fault[]): Generator<Step, never, undefined> {
  const dice = new Dice(seed);
  const injection = (fault: Fault): Injection => ({ fault, seed: dice.seed(), delayMs: dice.between(0, 800) });
  let waiting: Fault[] = [];
  for (;;) {
    if (waiting.length === 0) waiting = dice.shuffled(faults);
    const injections = [injection(waiting.shift()!)];
    const [first] = injections;
    const second = waiting.findIndex((fault) => fault.touches.every((part) => !first!.fault.touches.includes(part)));
    if (dice.chance(PAIRED) && second >= 0) injections.push(injection(waiting.splice(second, 1)[0]!));
    yield { pauseMs: dice.between(100, 1500), injections };
  }
}
