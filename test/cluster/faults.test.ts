import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { Dice } from '../faults/dice.ts';
import { KINDS, type Kind } from './kinds.ts';
import { expectOnce } from './oracle.ts';
import { Scene } from './scene.ts';
import type { Shard } from './shard.ts';

/** Each kind once takes about two minutes. */
const FAULTS = Number(process.env['OUTBOX_TEST_FAULTS'] ?? KINDS.length);
const SEED = Number(process.env['OUTBOX_TEST_SEED'] ?? randomInt(1_000_000));
/** How often a fault comes together with one of another part, or of another shard. */
const TOGETHER = 0.25;
/** All shards have the same of these. */
const OF_ALL: ReadonlySet<Kind['part']> = new Set(['Keeper', 'Postgres']);

interface Fault {
  readonly kind: Kind;
  readonly shard: Shard;
}

/** Each kind once in a random order, then again, for ever. */
function* schedule(dice: Dice, shards: readonly Shard[]): Generator<Fault, never, undefined> {
  for (;;) for (const kind of dice.shuffled(KINDS)) yield { kind, shard: dice.pick(shards) };
}

function mayComeTogether(one: Fault, other: Fault): boolean {
  return one.kind.part !== other.kind.part || (one.shard !== other.shard && !OF_ALL.has(one.kind.part));
}

test(
  `each event is once in one shard, and so on each of its replicas, after ${FAULTS} faults (OUTBOX_TEST_SEED=${SEED})`,
  { timeout: 600_000 + FAULTS * 30_000 },
  async ({ annotate }) => {
    const dice = new Dice(SEED);
    await using scene = await Scene.create(new Dice(dice.seed()));
    const { outbox, shards } = scene;
    scene.write();
    const kinds = schedule(dice, shards);
    const injected = new Map<string, number>();
    let next = kinds.next().value;
    for (let faults = 0; faults < FAULTS;) {
      const acts = [next];
      next = kinds.next().value;
      if (faults + 1 < FAULTS && mayComeTogether(acts[0]!, next) && dice.chance(TOGETHER)) {
        acts.push(next);
        next = kinds.next().value;
      }
      faults += acts.length;
      await Promise.all(acts.map(async ({ kind, shard }) => kind.act(scene, shard)));
      await scene.cluster.keepAlive();
      for (const { kind } of acts) injected.set(kind.name, (injected.get(kind.name) ?? 0) + 1);
      await dice.pause(200, 2500);
    }
    for (const { balancer } of shards) balancer.release();
    await scene.drain();
    const held = await expectOnce(
      outbox,
      shards.map(({ clients }) => clients),
    );
    const events = held.reduce((sum, one) => sum + one, 0);
    expect(events).toBeGreaterThanOrEqual(scene.acknowledged);
    expect(await outbox.postgres.query('SELECT FROM outbox.quarantine')).toMatchObject({ rowCount: 0 });
    for (const { streamer } of shards) expect(await streamer.stop()).toBe(0);
    await annotate(
      `${events} events, ${held.join(' and ')} in a shard${scene.hasQuorum ? ', with a quorum' : ''}; ${[...injected].map(([name, times]) => `${times} × ${name}`).join('; ')}`,
    );
  },
);
