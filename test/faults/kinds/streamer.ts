import type { Fault } from '../fault.ts';

/** Faults of the streamer's process, at any moment. */
export const STREAMER_FAULTS: readonly Fault[] = [
  {
    name: 'streamer: SIGKILL',
    touches: ['streamer'],
    inject: async ({ main }, dice) => {
      await main.kill();
      await dice.pause(0, 500);
      main.start(dice);
      return true;
    },
  },
  {
    name: 'streamer: SIGKILL, again while it starts',
    touches: ['streamer'],
    inject: async ({ main }, dice) => {
      for (let i = 0; i < 3; i++) {
        await main.kill();
        main.start(dice);
        await dice.pause(100, 900);
      }
      return true;
    },
  },
  {
    name: 'streamer: SIGTERM',
    touches: ['streamer'],
    inject: async ({ main }, dice) => {
      await main.stop();
      main.start(dice);
      return true;
    },
  },
  {
    name: 'streamer: SIGSTOP for a while',
    touches: ['streamer'],
    inject: async ({ main: { streamer } }, dice) => {
      streamer.signal('SIGSTOP');
      await dice.pause(500, 4000);
      streamer.signal('SIGCONT');
      return true;
    },
  },
];
