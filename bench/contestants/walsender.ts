import { slotTurn } from '../contestant.ts';
import type { Contestant } from '../contestant.ts';
import { Meter } from '../meter.ts';
import { Worker } from '../worker.ts';

export const WALSENDER_PACED = walsender(
  'walsender alone (paced)',
  'a reader of the slot (binary, TCP) that counts the rows and discards them, and rests between its reads as the streamer does',
  true,
);
export const WALSENDER_EAGER = walsender(
  'walsender alone (eager)',
  'the same, reading as soon as there is anything',
  false,
);
export const MESSAGES_PACED = walsender(
  'walsender alone (messages)',
  'a reader of the slot (TCP) that counts the logical messages and discards them, and rests between its reads as the streamer does',
  true,
  true,
);

function walsender(name: string, about: string, paced: boolean, messages = false): Contestant {
  return {
    name,
    about,
    prepare: async (source, { events }) =>
      slotTurn(source, async (slot) => {
        using meter = await Meter.begin(source.pid);
        await using reader = await Worker.start('raw-reader.ts', {
          DATABASE_URL: source.url,
          SLOT: slot,
          EVENTS: String(events),
          PACED: paced ? 'yes' : 'no',
          MESSAGES: messages ? 'yes' : 'no',
        });
        const began = performance.now();
        meter.watch('client', reader.pid);
        meter.watch('walsender', await source.walsender(slot), 'its birth');
        await reader.said('done');
        return { events, seconds: (performance.now() - began) / 1000, ...(await meter.read()) };
      }),
  };
}
