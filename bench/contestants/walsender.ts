import { slotTurn, type Contestant } from '../contestant.ts';
import { Meter } from '../meter.ts';
import { Worker } from '../worker.ts';

export const WALSENDER_PACED = walsender(
  'walsender alone (paced)',
  'a reader of the slot (binary, TCP) that counts the rows and discards them. It pauses between its reads, as the streamer does',
  true,
);
export const WALSENDER_EAGER = walsender(
  'walsender alone (eager)',
  'like walsender alone (paced), but without pauses: it reads as soon as data arrives',
  false,
);

function walsender(name: string, about: string, paced: boolean): Contestant {
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
        });
        const began = performance.now();
        meter.watch('client', reader.pid);
        meter.watch('walsender', await source.walsender(slot), 'its birth');
        await reader.said('done');
        return { events, seconds: (performance.now() - began) / 1000, ...(await meter.read()) };
      }),
  };
}
