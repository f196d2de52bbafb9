import { setTimeout as sleep } from 'node:timers/promises';
import { parseLsn } from '../../src/lsn.ts';
import { Dice } from './dice.ts';
import type { Fault } from './fault.ts';
import { Journal } from './journal.ts';
import { FAULTS } from './kinds/index.ts';
import { Oracle } from './oracle.ts';
import { Producers } from './producers.ts';
import { schedule, type Step } from './schedule.ts';
import { judge } from './verdict.ts';
import { Watch } from './watch.ts';
import { World } from './world.ts';

const PRODUCERS = 5;
/** Events that wait: more would only make the drain longer. */
const MOST_WAITING = 4000;
/** A share of all faults. */
const MOST_MISSED = 0.25;
/** Far more than any fault takes. */
const STEP_MS = 120_000;

export interface RunOptions {
  readonly seed: number;
  /** Ends after so many faults, or after so many minutes, whatever comes first. */
  readonly faults: number;
  readonly minutes: number;
  /** Ends at the first violation, and looks no further. */
  readonly hasty?: boolean;
  /** How long everything may take to be delivered, ms, once everything is well. */
  readonly drainMs?: number;
  /** The streamer's entry, when it is not this repository's own. */
  readonly cli?: string;
  /** The table was a team's own, and is still filled by direct inserts. */
  readonly isAdopted?: boolean;
  readonly only?: (fault: Fault) => boolean;
  readonly report?: (line: string) => void;
}

export interface Tally {
  injected: number;
  /** The moment for it did not come. */
  missed: number;
}

export interface RunResult {
  readonly seed: number;
  readonly kinds: ReadonlyMap<string, Tally>;
  readonly faults: number;
  readonly committed: { readonly transactions: number; readonly events: number };
  readonly rolledBack: { readonly transactions: number; readonly events: number };
  /** Transactions whose COMMIT was not answered. */
  readonly unknown: number;
  readonly rows: number;
  readonly inserts: number;
  readonly streamers: number;
  readonly looks: number;
  readonly seconds: number;
  readonly drainSeconds: number;
  readonly violations: readonly string[];
  /** The timeline, and what the streamers wrote. */
  readonly logs: ReadonlyMap<string, string>;
}

/** Injects faults while events are written and delivered; then heals everything, and compares what is there with what was written. */
export async function run(options: RunOptions): Promise<RunResult> {
  const { seed, hasty = false, drainMs = 120_000, only = () => true, report = () => undefined } = options;
  const journal = new Journal();
  await using world = await World.create(journal, options.cli, options.isAdopted);
  const dice = new Dice(seed ^ 0x5eed);
  const oracle = new Oracle();
  world.main.start(dice);
  const watch = new Watch(world);
  const producers = new Producers({
    url: world.postgres.url,
    oracle,
    count: PRODUCERS,
    seed: dice.seed(),
    isTooFarAhead: () => oracle.committedEvents - watch.rows > MOST_WAITING,
  });

  const kinds = new Map<string, Tally>();
  let faults = 0;
  const steps = schedule(seed, FAULTS.filter(only));
  while (faults < options.faults && journal.seconds < options.minutes * 60) {
    const step = steps.next().value;
    // the schedule is drawn from the seed: when a fault comes is a part of it
    await sleep(step.pauseMs);
    report(
      `${journal.seconds.toFixed(1).padStart(7)} s ${step.injections.map(({ fault }) => fault.name).join('  +  ')}`,
    );
    await inject(world, step, kinds);
    faults += step.injections.length;
    if (hasty && journal.violations.length > 0) break;
  }

  await producers.stop();
  const unknown = oracle.count('unknown').transactions;
  const result = { kinds, faults, unknown, rows: 0, drainSeconds: NaN };
  if (!hasty || journal.violations.length === 0) {
    // what comes late is to be in what is judged
    await world.gate.quiet();
    result.drainSeconds = await drain(world, drainMs);
    await watch.stop();
    if (world.main.isRunning) await world.main.stop();
    const positions = await judge(world, oracle);
    watch.check(positions);
    result.rows = positions.length;
    if (share(kinds) > MOST_MISSED) journal.violate('too many faults missed their moment: this run proves little');
  }
  await watch.stop();
  return {
    ...result,
    seed,
    committed: oracle.count('committed'),
    rolledBack: oracle.count('rolled back'),
    inserts: world.gate.inserts,
    streamers: world.main.started + world.spare.started,
    looks: watch.looks + watch.samples,
    seconds: journal.seconds,
    violations: journal.violations,
    logs: logsOf(world),
  };
}

/** Of the faults, those that missed their moment. */
function share(kinds: ReadonlyMap<string, Tally>): number {
  const tallies = [...kinds.values()];
  const missed = tallies.reduce((sum, tally) => sum + tally.missed, 0);
  return missed / tallies.reduce((sum, tally) => sum + tally.missed + tally.injected, 0);
}

async function inject(world: World, { injections }: Step, kinds: Map<string, Tally>): Promise<void> {
  const { journal } = world;
  const isDone = new AbortController();
  // a deadline: who is done in time does not wait for it
  const overdue = sleep(STEP_MS, undefined, { signal: isDone.signal }).then(
    () => journal.violate(`a fault took longer than ${STEP_MS / 1000} s`),
    () => undefined,
  );
  const all = injections.map(async ({ fault, seed, delayMs }, n) => {
    // how far two faults overlap is drawn, too
    if (n > 0) await sleep(delayMs);
    journal.note(`fault: ${fault.name}`);
    const isOver = journal.explain(fault.codes ?? []);
    const isInjected = await fault.inject(world, new Dice(seed));
    isOver();
    journal.note(`${isInjected ? 'done' : 'missed'}: ${fault.name}`);
    const tally = kinds.get(fault.name) ?? { injected: 0, missed: 0 };
    kinds.set(fault.name, tally);
    if (isInjected) tally.injected++;
    else tally.missed++;
  });
  try {
    await Promise.race([Promise.all(all), overdue]);
  } finally {
    isDone.abort();
  }
}

/** Waits until all that was written is delivered and settled, and all events acknowledged; returns the seconds, NaN when it never was. */
async function drain(world: World, ms: number): Promise<number> {
  const began = performance.now();
  await world.heal();
  const end = parseLsn(await world.walEnd());
  const isDrained = await world.within(ms, async () => {
    // an idle streamer does not acknowledge each bit of WAL without events
    if (parseLsn(await world.appliedLsn()) < end) return false;
    const { delivered_lsn: delivered, pending_token: pending } = await world.ledger();
    return pending === null && parseLsn(await world.confirmedLsn()) > parseLsn(delivered);
  });
  if (isDrained) return (performance.now() - began) / 1000;
  const state = { ...(await world.ledger()), confirmed: await world.confirmedLsn(), end };
  world.journal.violate(`not everything was delivered within ${ms / 1000} s: ${JSON.stringify(state)}`);
  await world.main.kill();
  return NaN;
}

function logsOf({ journal, main, spare }: World): Map<string, string> {
  const logs = new Map([['timeline.log', `${journal.lines.join('\n')}\n`]]);
  for (const { pid, output } of [...main.streamers, ...spare.streamers]) logs.set(`streamer-${pid}.log`, output);
  return logs;
}
