import { ANSWERS } from '../answers.ts';
import type { Dice } from '../dice.ts';
import { alone, reported, type Fault } from '../fault.ts';
import type { World } from '../world.ts';
import { caughtInsert } from './crash-points.ts';

type Table = 'events' | 'counts';

/** What may be said once another table has taken the name of one that is filled. */
export const OF_COPIES = ['OUTBOX_CH_TABLE_REPLACED', 'OUTBOX_CH_VIEWS_UNPROVEN'];
/** The latter where a question was asked before the table was looked for. */
const OF_ABSENCE = ['OUTBOX_CH_TABLE_DETACHED', 'OUTBOX_CH_NOT_MIGRATED'];
/** A view cannot be checked whose table comes back between two questions about it. */
const OF_RETURN = ['OUTBOX_CH_VIEW_FORGETS', 'OUTBOX_CH_VIEWS_UNPROVEN'];
/** Repetitions while something is done that no insert may come between. */
const REPETITIONS = 200;

/** A copy that has all rows, and remembers no token, takes the table's name. No insert may be under way. */
export async function exchange(world: World, table: Table): Promise<void> {
  const copy = `${table}_copy`;
  await world.command(`DROP TABLE IF EXISTS ${copy} SYNC`);
  await world.command(`CREATE TABLE ${copy} AS ${table}`);
  await world.command(`ALTER TABLE ${copy} ATTACH PARTITION ALL FROM ${table}`);
  await world.command(`EXCHANGE TABLES ${table} AND ${copy}`);
  await world.command(`DROP TABLE ${copy} SYNC`);
}

/** While an insert has been applied, and its sender waits for the answer, which it never gets. Returns whether one came. */
export async function whileAnswerIsLost(world: World, work: () => Promise<void>): Promise<boolean> {
  const caught = await caughtInsert(world, { kind: 'hold its answer' });
  const answer = ANSWERS['429 of a proxy']();
  for (let left = REPETITIONS; left > 0; left--)
    world.gate.catch({ kind: 'answer', answer, forwarded: 'never', lateMs: 0 });
  const isPending = caught?.isAwaited === true;
  if (isPending) await work();
  world.gate.disarm();
  world.main.clickhouse.cut();
  caught?.letGo();
  return isPending;
}

const copied = (table: Table, words: string): Fault =>
  alone({
    name: `ClickHouse: a filled copy takes the name of ${words}`,
    codes: OF_COPIES,
    inject: async (world) => whileAnswerIsLost(world, async () => exchange(world, table)),
  });

/** Something about a table fails every insert, until it is as it was. */
async function forAWhile(world: World, dice: Dice, [off, on]: [string, string], codes: string[]): Promise<boolean> {
  const from = world.main.streamer.logs.length;
  await world.command(off);
  await reported(world, codes, from);
  await dice.pause(0, 2500);
  await world.command(on);
  return true;
}

/** Faults of the tables in ClickHouse: somebody works on them. */
export const TABLE_FAULTS: readonly Fault[] = [
  copied('events', 'the table'),
  copied('counts', 'the table of a view'),
  alone({
    name: 'ClickHouse: the table is detached for a while',
    codes: OF_ABSENCE,
    inject: async (world, dice) => forAWhile(world, dice, ['DETACH TABLE events', 'ATTACH TABLE events'], OF_ABSENCE),
  }),
  alone({
    name: 'ClickHouse: the table of a view is detached for a while',
    codes: [...OF_RETURN, 'OUTBOX_CH_VIEW_DETACHED'],
    inject: async (world, dice) =>
      forAWhile(world, dice, ['DETACH TABLE counts', 'ATTACH TABLE counts'], ['OUTBOX_CH_VIEW_FAILED']),
  }),
  alone({
    name: 'ClickHouse: the table of a view is renamed and back',
    codes: OF_RETURN,
    inject: async (world, dice) => {
      const [away, back] = ['RENAME TABLE counts TO counts_away', 'RENAME TABLE counts_away TO counts'];
      return forAWhile(world, dice, [away, back], ['OUTBOX_CH_VIEW_FAILED']);
    },
  }),
  alone({
    name: 'ClickHouse: the table refuses every row for a while',
    inject: async (world, dice) => {
      const refuse = 'ALTER TABLE events ADD CONSTRAINT sound CHECK 0';
      return forAWhile(world, dice, [refuse, 'ALTER TABLE events DROP CONSTRAINT sound'], ['OUTBOX_CH_ROW_REFUSED']);
    },
  }),
];
