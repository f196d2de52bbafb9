import type { Proxy } from '../../support/proxy.ts';
import type { Dice } from '../dice.ts';
import { inTime, type Fault } from '../fault.ts';

interface LinkFault {
  readonly name: string;
  readonly inject: (link: Proxy, dice: Dice) => Promise<boolean>;
}

const ON_EITHER: readonly LinkFault[] = [
  {
    name: 'reset',
    inject: async (link, dice) => {
      for (let left = dice.between(1, 3); left > 0; left--) {
        link.cut();
        await dice.pause(0, 600);
      }
      return true;
    },
  },
  {
    name: 'refuses connections',
    inject: async (link, dice) => {
      await link.close();
      await dice.pause(100, 2500);
      await link.listen();
      return true;
    },
  },
  {
    name: 'half-open',
    inject: async (link, dice) => {
      link.isolate();
      await dice.pause(500, 3500);
      link.release();
      link.cut();
      return true;
    },
  },
  {
    name: 'stalls for a while',
    inject: async (link, dice) => {
      const way = dice.pick(['requests', 'answers', 'both']);
      if (way !== 'answers') link.holdRequests();
      if (way !== 'requests') link.holdAnswers();
      await dice.pause(300, 4000);
      link.release();
      return true;
    },
  },
  {
    name: 'drips',
    inject: async (link, dice) => {
      link.drip(dice.pick([300, 3000, 30_000]));
      await dice.pause(500, 3500);
      link.release();
      return true;
    },
  },
];

/** Cut after so many bytes: `most` is what passes within a second or so. */
function cutIn(way: 'requests' | 'answers', most: number): LinkFault {
  return {
    name: `cut in the middle of ${way}`,
    inject: async (link, dice) => {
      const isCut = await inTime(link.cutAfter(dice.between(1, most), way));
      link.release();
      return isCut;
    },
  };
}

const named = (link: 'link to Postgres' | 'link to ClickHouse', faults: readonly LinkFault[]): Fault[] =>
  faults.map(({ name, inject }) => ({
    name: `${link}: ${name}`,
    touches: [link],
    inject: async ({ main }, dice) => inject(link === 'link to Postgres' ? main.postgres : main.clickhouse, dice),
  }));

/** Faults of the streamer's connections. */
export const LINK_FAULTS: readonly Fault[] = [
  ...named('link to Postgres', [...ON_EITHER, cutIn('requests', 600), cutIn('answers', 40_000)]),
  ...named('link to ClickHouse', [...ON_EITHER, cutIn('requests', 40_000), cutIn('answers', 2500)]),
];
