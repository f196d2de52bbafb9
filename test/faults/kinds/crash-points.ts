import { isReplication } from '../../support/proxy.ts';
import { parseLsn } from '../../../src/lsn.ts';
import type { Dice } from '../dice.ts';
import { inTime, MOMENT_MS, type Fault } from '../fault.ts';
import type { Caught, Treatment } from '../gate.ts';
import type { World } from '../world.ts';

/** The streamer is killed at the named moments of a batch's life; or Postgres is, while it knows of the intent alone. */
export const CRASH_POINTS: readonly Fault[] = [
  {
    name: 'Postgres crashes right after the intent, the insert arrives later',
    touches: ['Postgres', 'inserts'],
    inject: async (world, dice) => {
      const { postgres } = world;
      for (let left = 4; left > 0; left--) {
        const caught = await caughtNewInsert(world);
        if (caught === undefined) return false;
        // quicker than SIGKILL, which looks for all children first: others' commits would make the intent durable
        await postgres.stop('immediate');
        await dice.pause(0, 300);
        await postgres.start();
        caught.letGo();
      }
      return true;
    },
  },
  {
    name: 'SIGKILL after the intent, the insert never arrives',
    touches: ['streamer', 'inserts'],
    inject: async (world, dice) => {
      const caught = await caughtInsert(world, { kind: 'hold it' });
      if (caught !== undefined) await expectIntent(world, caught);
      await replace(world, dice);
      return caught !== undefined;
    },
  },
  {
    name: 'SIGKILL after the intent, the insert arrives later',
    touches: ['streamer', 'inserts'],
    inject: async (world, dice) => {
      const caught = await caughtInsert(world, { kind: 'hold it' });
      await replace(world, dice);
      await dice.pause(0, 2000);
      caught?.letGo();
      return caught !== undefined;
    },
  },
  {
    name: 'SIGKILL in the middle of an insert',
    touches: ['streamer', 'inserts'],
    inject: async (world, dice) => {
      const fraction = dice.between(5, 100) / 100;
      const caught = await caughtInsert(world, { kind: 'hold its rest', fraction });
      await replace(world, dice);
      return caught !== undefined;
    },
  },
  {
    name: 'SIGKILL after the insert, before its answer',
    touches: ['streamer', 'inserts'],
    inject: async (world, dice) => {
      const caught = await caughtInsert(world, { kind: 'hold its answer' });
      await replace(world, dice);
      return caught !== undefined;
    },
  },
  {
    name: 'SIGKILL after the answer, before the settle',
    touches: ['streamer', 'inserts', 'link to Postgres'],
    inject: async (world, dice) => {
      const { main } = world;
      const caught = await caughtInsert(world, { kind: 'hold its answer' });
      main.postgres.holdRequests();
      const seen = main.streamer.logs.length;
      caught?.letGo();
      const isAnswered =
        caught !== undefined &&
        (await world.within(MOMENT_MS, () =>
          main.streamer.logs.slice(seen).some(({ msg }) => msg === 'batch delivered'),
        ));
      await dice.pause(0, 200);
      await main.kill();
      afterDeath(world, dice);
      main.start(dice);
      return isAnswered;
    },
  },
  {
    name: 'SIGKILL after the settle, before the ack',
    touches: ['streamer', 'inserts', 'link to Postgres'],
    inject: async (world, dice) => {
      const { main } = world;
      const caught = await caughtInsert(world, { kind: 'hold its answer' });
      main.postgres.holdRequestsOf(isReplication);
      caught?.letGo();
      const isSettled =
        caught !== undefined &&
        (await world.within(MOMENT_MS, async () => (await world.ledger()).pending_token !== caught.token));
      await main.kill();
      afterDeath(world, dice);
      main.start(dice);
      return isSettled;
    },
  },
  {
    name: 'SIGKILL after the ack',
    touches: ['streamer', 'inserts', 'link to Postgres'],
    inject: async (world, dice) => {
      const caught = await caughtInsert(world, { kind: 'hold its answer' });
      const { pending_lsn: pending } = caught === undefined ? { pending_lsn: null } : await ledgerOf(world);
      caught?.letGo();
      const isAcked =
        pending !== null &&
        (await world.within(MOMENT_MS, async () => parseLsn(await world.confirmedLsn()) > parseLsn(pending)));
      await replace(world, dice);
      return isAcked;
    },
  },
];

/** The next insert, once it is where it is wanted; undefined when none came. */
export async function caughtInsert({ gate }: World, treatment: Treatment): Promise<Caught | undefined> {
  const caught = gate.catch(treatment);
  const isCaught = await inTime(caught.reached);
  gate.disarm();
  return isCaught ? caught : undefined;
}

/** Held before the server: the next insert that is not the repetition of one. */
async function caughtNewInsert(world: World): Promise<Caught | undefined> {
  const ledger = await ledgerOf(world);
  let caught = await caughtInsert(world, { kind: 'hold it' });
  while (caught !== undefined && ledger.pending_token === caught.token) {
    caught.letGo();
    caught = await caughtInsert(world, { kind: 'hold it' });
  }
  return caught;
}

async function replace(world: World, dice: Dice): Promise<void> {
  await world.main.kill();
  await dice.pause(0, 300);
  world.main.start(dice);
}

/** What the dead had sent, and Postgres has not read yet: it is lost, or it comes while the successor begins. */
function afterDeath({ main }: World, dice: Dice): void {
  if (dice.chance(0.5)) main.postgres.cut();
  main.postgres.release();
}

/** An insert that is under way is in the ledger (invariant 3). */
async function expectIntent(world: World, caught: Caught): Promise<void> {
  const ledger = await ledgerOf(world);
  if (caught.isAwaited && ledger.pending_token !== caught.token)
    world.journal.violate(
      `an insert is sent whose token is not in the ledger: ${caught.token}, but ${ledger.pending_token}`,
    );
}

/** Waits for Postgres where it is away. */
export async function ledgerOf(world: World): ReturnType<World['ledger']> {
  let ledger: Awaited<ReturnType<World['ledger']>> | undefined;
  await world.within(30_000, async () => {
    ledger = await world.ledger();
    return true;
  });
  if (ledger === undefined) throw new Error('Postgres does not answer');
  return ledger;
}
