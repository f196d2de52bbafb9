import { ANSWERS } from '../answers.ts';
import { authorizationOf, type Account } from '../accounts.ts';
import { alone, MOMENT_MS, reported, type Fault } from '../fault.ts';
import type { World } from '../world.ts';
import { caughtInsert } from './crash-points.ts';
import { exchange, OF_COPIES, whileAnswerIsLost } from './tables.ts';

/** What a request says beside its settings. */
const NO_SETTING = /^(?:query|query_id|database|default_format|param_.*)$/;

function becomes({ gate }: World, account: Account): void {
  gate.alter = (_, headers) => {
    headers.authorization = authorizationOf(account);
  };
}

function dropsSettings({ gate }: World, isDropped: (name: string) => boolean): void {
  gate.alter = (parameters) => {
    const dropped = Array.from(parameters.keys()).filter((name) => !NO_SETTING.test(name) && isDropped(name));
    for (const name of dropped) parameters.delete(name);
  };
}

const mayNotSet = (account: Account, words: string): Fault =>
  alone({
    name: `ClickHouse: ${words}`,
    inject: async (world, dice) => {
      const from = world.main.streamer.logs.length;
      becomes(world, account);
      await reported(world, ['OUTBOX_CH_REFUSED'], from);
      await dice.pause(0, 2500);
      world.gate.alter = undefined;
      return true;
    },
  });

/** What becomes of the streamer's account and of its settings, for a while. */
export const ACCOUNT_FAULTS: readonly Fault[] = [
  alone({
    name: 'ClickHouse: a row policy hides rows for a while',
    codes: ['OUTBOX_CH_ROWS_HIDDEN', ...OF_COPIES],
    inject: async (world, dice) => {
      const from = world.main.streamer.logs.length;
      const isPending = await whileAnswerIsLost(world, async () => {
        // no token tells then what is there
        if (dice.chance(0.7)) await exchange(world, 'events');
        becomes(world, 'rows are hidden');
      });
      if (isPending) await reported(world, ['OUTBOX_CH_ROWS_HIDDEN'], from);
      await dice.pause(0, 2500);
      world.gate.alter = undefined;
      return isPending;
    },
  }),
  mayNotSet('read-only', 'the account becomes read-only for a while'),
  mayNotSet('constrained', 'the account may not change a setting for a while'),
  alone({
    name: 'ClickHouse: the account’s profile says otherwise for a while',
    codes: OF_COPIES,
    inject: async (world, dice) => {
      becomes(world, 'contrary');
      await dice.pause(0, 1500);
      const isPending = await whileAnswerIsLost(world, async () => {
        if (dice.chance(0.5)) await exchange(world, 'events');
      });
      await dice.pause(1000, 4000);
      world.gate.alter = undefined;
      return isPending;
    },
  }),
  alone({
    name: 'ClickHouse: a proxy drops settings for a while',
    codes: ['OUTBOX_CH_SETTINGS_DROPPED', 'OUTBOX_CH_VIEWS_UNPROVEN'],
    inject: async (world, dice) => {
      const from = world.main.streamer.logs.length;
      const dropped = dice.pick(['', 'insert_deduplication_token', 'input_format_try_infer_dates']);
      // an insert that comes shows that the streamer has seen the last one pass
      const { inserts } = world.gate;
      await world.within(MOMENT_MS, () => world.gate.inserts > inserts);
      dropsSettings(world, (name) => dropped === '' || name === dropped);
      const answer = ANSWERS['429 of a proxy']();
      const isPending = dice.chance(0.3)
        ? (await caughtInsert(world, { kind: 'answer', answer, forwarded: 'never', lateMs: 0 })) !== undefined
        : await whileAnswerIsLost(world, async () => undefined);
      if (isPending) await reported(world, ['OUTBOX_CH_SETTINGS_DROPPED'], from);
      await dice.pause(0, 2500);
      world.gate.alter = undefined;
      return isPending;
    },
  }),
];
