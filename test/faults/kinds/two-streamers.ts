import { parseLsn } from '../../../src/lsn.ts';
import { isReplication } from '../../support/proxy.ts';
import type { Dice } from '../dice.ts';
import { MOMENT_MS, type Fault } from '../fault.ts';
import type { World } from '../world.ts';
import { caughtInsert, ledgerOf } from './crash-points.ts';

/** The server gives up a walsender that is silent after 30 s; here it hears of the loss at once. */
const TAKEOVER_MS = 20_000;

/** A second streamer beside the first, and what becomes of the first. */
export const TWO_STREAMERS: readonly Fault[] = [
  {
    name: 'two streamers: SIGKILL of the first',
    touches: ['streamer'],
    inject: async (world, dice) => {
      const { main, spare } = world;
      spare.start(dice);
      const stoodBy = await world.within(5000, () =>
        spare.streamer.logs.some(({ err }) => err?.code === 'OUTBOX_SLOT_BUSY'),
      );
      await main.kill();
      world.swap();
      return stoodBy && (await hasTakenOver(world));
    },
  },
  {
    name: 'two streamers: the first is frozen, and wakes',
    touches: ['streamer', 'link to Postgres'],
    inject: async (world, dice) => {
      world.main.streamer.signal('SIGSTOP');
      return replaceFrozen(world, dice, async () => undefined);
    },
  },
  {
    name: 'two streamers: the first is frozen, its insert arrives later',
    touches: ['streamer', 'link to Postgres', 'inserts'],
    inject: async (world, dice) => {
      const held = await caughtInsert(world, { kind: 'hold it' });
      world.main.streamer.signal('SIGSTOP');
      const taken = await replaceFrozen(world, dice, async () => {
        held?.letGo();
        await dice.pause(0, 300);
      });
      return taken && held !== undefined;
    },
  },
  {
    name: 'two streamers: the first is frozen, its answer arrives later',
    touches: ['streamer', 'link to Postgres', 'inserts'],
    inject: async (world, dice) => {
      const held = await caughtInsert(world, { kind: 'hold its answer' });
      const { pending_lsn: pending } = await ledgerOf(world);
      world.main.streamer.signal('SIGSTOP');
      const isBehind = async (): Promise<boolean> =>
        pending !== null && parseLsn((await world.ledger()).delivered_lsn) > parseLsn(pending);
      const taken = await replaceFrozen(
        world,
        dice,
        async () => {
          // what it will want to settle is no longer the end of what is delivered
          await world.within(MOMENT_MS, isBehind);
          held?.letGo();
        },
        { keepsLedger: true, cutsAtWaking: false },
      );
      return taken && held !== undefined;
    },
  },
];

/**
 * The frozen streamer loses the slot, in one of two ways: with it the connection to the ledger too, or not, so that only the
 * epoch can stop it. Another one takes over and goes on for a while; then the first wakes, as if nothing had happened.
 */
async function replaceFrozen(
  world: World,
  dice: Dice,
  beforeItWakes: () => Promise<unknown>,
  { keepsLedger, cutsAtWaking } = { keepsLedger: dice.chance(0.5), cutsAtWaking: dice.chance(0.4) },
): Promise<boolean> {
  const zombie = world.main;
  const isKilled = dice.chance(0.6);
  world.spare.start(dice);
  await dice.pause(0, 1000);
  zombie.postgres.loseServers(keepsLedger ? isReplication : undefined);
  world.swap();
  const taken = await hasTakenOver(world);
  // sometimes for longer than a proof of the epoch is trusted
  await (dice.chance(0.1) ? dice.pause(11_000, 11_000) : dice.pause(200, 1500));
  await beforeItWakes();
  zombie.streamer.signal('SIGCONT');
  if (cutsAtWaking) zombie.postgres.cut();
  // long enough for an answered insert to be settled
  await dice.pause(1100, 2500);
  if (isKilled) await zombie.kill();
  else await zombie.stop();
  zombie.postgres.cut();
  return taken;
}

async function hasTakenOver(world: World): Promise<boolean> {
  const { streamer } = world.main;
  return world.within(TAKEOVER_MS, () => streamer.logs.some(({ msg }) => msg === 'attached'));
}
