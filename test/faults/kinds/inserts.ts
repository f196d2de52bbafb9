import { ANSWERS, type AnswerName } from '../answers.ts';
import { inTime, type Fault } from '../fault.ts';
import type { Treatment } from '../gate.ts';
import type { World } from '../world.ts';

/** The next few inserts are treated so. */
async function treatInserts(world: World, count: number, treatment: () => Treatment): Promise<boolean> {
  const caught = Array.from({ length: count }, () => world.gate.catch(treatment()));
  const areCaught = await inTime(Promise.all(caught.map(async ({ reached }) => reached)));
  world.gate.disarm();
  return areCaught;
}

const answered = (name: AnswerName): Fault => ({
  name: `insert: ${name}`,
  touches: ['inserts'],
  inject: async (world, dice) => {
    const count = dice.between(1, 4);
    // only who stands before ClickHouse answers for it while it is still at work
    const forwarded = dice.pick(
      name === '503' || name === '502 of a proxy'
        ? (['never', 'before', 'late'] as const)
        : (['never', 'before'] as const),
    );
    const lateMs = dice.between(50, 2500);
    return treatInserts(world, count, () => ({ kind: 'answer', answer: ANSWERS[name](), forwarded, lateMs }));
  },
});

/** Faults in what ClickHouse seems to answer. */
export const INSERT_FAULTS: readonly Fault[] = [
  {
    name: 'insert: its answer is lost',
    touches: ['inserts'],
    inject: async (world, dice) => treatInserts(world, dice.between(1, 4), () => ({ kind: 'lose its answer' })),
  },
  ...(Object.keys(ANSWERS) as AnswerName[]).map(answered),
];
