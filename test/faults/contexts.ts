import type { EventContext } from '../../src/app/index.ts';
import type { Dice } from './dice.ts';

const TYPES = [
  'order.placed',
  'order.paid',
  'order.shipped',
  'cart.changed',
  'user.signed_up',
  'user.left',
  'mail.sent',
  'půjčka.„schválena“ 🛒',
];
const ENVIRONMENTS = ['production', 'staging', '', 'tést'];
/** The environment of what its producer means to roll back: none of these may ever be seen. */
export const DOOMED = 'doomed';

const WORDS = [
  'lorem',
  'ipsum',
  'Ünïcode',
  '数据库',
  '🎉',
  '"quoted"',
  'back\\slash',
  'tab\t',
  'nul\u0000',
  '\u2028',
  '',
];

/** As JSON, but not as anything would write it: only the text itself can be compared. */
const ODD_TEXTS = [
  '{"a":1,"a":2}',
  '{ "spaces" :  [ 1 , 2 ] }',
  '{"n":123456789012345678901234567890,"z":1.0,"e":1e400}',
  '{"lone":"\\ud800"}',
  '{"nul":"\\u0000","esc":"\\u00e9\\/"}',
  '{"a.b":{"c":1},"a":{"b.c":2}}',
  '{"list":[1,2,[3,{"x":null}]]}',
  '{"":""}',
  '{"date":"2024-02-29T23:59:59.123Z","uuid":"01890a5d-ac96-774b-bcce-b302099a8057"}',
];

export interface Draft {
  readonly type: string;
  readonly environment: string;
  readonly version: number;
}

export function draft(dice: Dice, doomed: boolean): Draft {
  return {
    type: dice.pick(TYPES),
    environment: doomed ? DOOMED : dice.pick(ENVIRONMENTS),
    version: dice.between(0, 5),
  };
}

export function context(dice: Dice, n: number): EventContext {
  return {
    n,
    word: dice.pick(WORDS),
    amount: dice.between(-1e6, 1e6) / 100,
    flag: dice.pick([true, false, null]),
    list: Array.from({ length: dice.between(0, 3) }, () => dice.pick(WORDS)),
    [`key ${dice.between(0, 30)}`]: { nested: { deep: dice.next() } },
    ...(dice.chance(0.3) ? { note: filler(dice) } : {}),
  };
}

export function jsonText(dice: Dice, n: number): string {
  return dice.chance(0.7) ? dice.pick(ODD_TEXTS) : `{"n": ${n}, "note":${JSON.stringify(filler(dice))}}`;
}

/** Mostly small, seldom larger than a whole batch may be. */
function filler(dice: Dice): string {
  const size = dice.chance(0.004)
    ? dice.between(70_000, 300_000)
    : dice.chance(0.05)
      ? dice.between(1000, 15_000)
      : dice.between(0, 400);
  const word = `${dice.pick(WORDS)} ${dice.between(0, 1e9)} `;
  return word
    .repeat(Math.ceil(size / word.length))
    .slice(0, size)
    .toWellFormed();
}
