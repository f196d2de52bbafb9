import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { Dice } from '../faults/dice.ts';
import { heldBy } from '../support/cluster.ts';
import { KINDS, type Kind } from './kinds.ts';
import { Scene } from './scene.ts';

/** Each kind once takes about two minutes. */
const FAULTS = Number(process.env['OUTBOX_TEST_FAULTS'] ?? KINDS.length);
const SEED = Number(process.env['OUTBOX_TEST_SEED'] ?? randomInt(1_000_000));
/** How often a fault comes together with one of another part. */
const TOGETHER = 0.25;

/** Each kind once in a random order, then again, for ever. */
function* schedule(dice: Dice): Generator<Kind, never, undefined> {
  for (;;) yield* dice.shuffled(KINDS);
}

test(
  `every replica holds each event once after ${FAULTS} faults (OUTBOX_TEST_SEED=${SEED})`,
  { timeout: 600_000 + FAULTS * 30_000 },
  async ({ annotate }) => {
    const dice = new Dice(SEED);
    await using scene = await Scene.create(new Dice(dice.seed()));
    const { outbox } = scene;
    scene.write();
    const kinds = schedule(dice);
    const injected = new Map<string, number>();
    let next = kinds.next().value;
    for (let faults = 0; faults < FAULTS;) {
      const acts = [next];
      next = kinds.next().value;
      if (faults + 1 < FAULTS && next.part !== acts[0]!.part && dice.chance(TOGETHER)) {
        acts.push(next);
        next = kinds.next().value;
      }
      faults += acts.length;
      await Promise.all(acts.map(async ({ act }) => act(scene)));
      for (const { name } of acts) injected.set(name, (injected.get(name) ?? 0) + 1);
      await dice.pause(200, 2500);
    }
    scene.balancer.release();
    await scene.drain();
    const { rows } = await outbox.postgres.query<{ events: string; digest: string }>(
      `SELECT count(*)::text AS events, md5(string_agg(event_id::text, ',' ORDER BY event_id::text COLLATE "C")) AS digest FROM outbox.event`,
    );
    const [{ events, digest }] = rows as [{ events: string; digest: string }];
    expect(Number(events)).toBeGreaterThanOrEqual(scene.acknowledged);
    for (const client of scene.clients)
      expect(await heldBy(client)).toEqual({ rows: events, events, viewed: events, digest });
    expect(await outbox.postgres.query('SELECT FROM outbox.quarantine')).toMatchObject({ rowCount: 0 });
    expect(await scene.streamer.stop()).toBe(0);
    await annotate(
      `${events} events${scene.hasQuorum ? ', with a quorum' : ''}; ${[...injected].map(([name, times]) => `${times} × ${name}`).join('; ')}`,
    );
  },
);
