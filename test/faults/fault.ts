import { setTimeout as sleep } from 'node:timers/promises';
import type { Dice } from './dice.ts';
import type { World } from './world.ts';

/** What a fault takes hold of: two that touch the same are never injected at once. */
export type Part = 'streamer' | 'inserts' | 'Postgres' | 'ClickHouse' | 'link to Postgres' | 'link to ClickHouse';

export interface Fault {
  readonly name: string;
  readonly touches: readonly Part[];
  /** What streamers say because of it, and of no other fault. */
  readonly codes?: readonly string[];
  /**
   * Does it and undoes it: afterwards one streamer runs, both databases run and everything passes. Returns false when the
   * moment that it waited for did not come.
   */
  readonly inject: (world: World, dice: Dice) => Promise<boolean>;
}

const ALL: readonly Part[] = [
  'streamer',
  'inserts',
  'Postgres',
  'ClickHouse',
  'link to Postgres',
  'link to ClickHouse',
];

/**
 * A fault that comes alone, because only then it is known what the streamer says. Mostly the next one waits until the streamer
 * delivers again: what may be there already is not looked for before former inserts have ended.
 */
export function alone(fault: Omit<Fault, 'touches'>): Fault {
  return {
    ...fault,
    touches: ALL,
    inject: async (world, dice) => {
      const isInjected = await fault.inject(world, dice);
      if (dice.chance(0.8)) await healed(world);
      return isInjected;
    },
  };
}

async function healed(world: World): Promise<void> {
  const settled = async (): Promise<string> => {
    const { delivered_lsn: lsn, delivered_seq: seq } = await world.ledger();
    return `${lsn}:${seq}`;
  };
  const before = await settled();
  if (!(await world.within(HEALED_MS, async () => (await settled()) !== before)))
    world.journal.violate('the streamer does not deliver again');
}

/** How long a moment is waited for. */
export const MOMENT_MS = 8000;
/** Longer than a streamer waits before it looks for what may be there. */
const REPORT_MS = 45_000;
/** So many ms a successor waits for inserts of its predecessor, and more than once. */
const HEALED_MS = 60_000;

/** Whether the moment came before it was given up. */
export async function inTime(moment: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  // a deadline: who comes in time does not wait for it
  const late = sleep(MOMENT_MS, false, { signal: timer.signal });
  try {
    return await Promise.race([moment.then(() => true), late]);
  } finally {
    timer.abort();
  }
}

/** Waits until the streamer says one of these codes, from a line of its log on; that it never does is a violation. */
export async function reported(world: World, codes: readonly string[], from: number): Promise<void> {
  const says = (): boolean =>
    world.main.streamer.logs.slice(from).some(({ err }) => err?.code !== undefined && codes.includes(err.code));
  if (!(await world.within(REPORT_MS, says)))
    world.journal.violate(`the streamer does not report ${codes.join(' or ')}`);
}
