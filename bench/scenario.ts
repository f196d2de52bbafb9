import type { Figures, Run } from './figures.ts';

/** Sizes and repetitions: what `--quick` and the other flags change. */
export interface Scale {
  /** Events of a backlog; the large one has ten times as many. */
  readonly events: number;
  readonly repeat: number;
  /** Duration of each live load. */
  readonly liveSeconds: number;
  /** Duration of each step of the search for the highest rate. */
  readonly stepSeconds: number;
  readonly outageSeconds: number;
  /** Whether the flags select a contestant of a scenario. */
  readonly wants: (scenario: string, contestant: string) => boolean;
}

export interface Scenario {
  readonly name: string;
  /** What happens, for readers of the figures. */
  readonly about: string;
  /** The contestants, and how each is set up. */
  readonly contestants: readonly { readonly name: string; readonly about: string }[];
  /** Interleaves repetitions: all contestants run once, then all run again. */
  run(scale: Scale): AsyncIterable<Run>;
}

/** A contestant that needs no preparation. */
export interface Player {
  readonly name: string;
  readonly about: string;
  play(scale: Scale): Promise<Figures>;
}

/** A scenario whose contestants start from scratch in each repetition. */
export function playing(name: string, about: string, players: readonly Player[], most = Infinity): Scenario {
  return {
    name,
    about,
    contestants: players,
    async *run(scale) {
      const chosen = players.filter((player) => scale.wants(name, player.name));
      for (let repetition = 1; repetition <= Math.min(most, scale.repeat); repetition++) {
        for (const player of chosen) {
          yield* attempt({ scenario: name, contestant: player.name, repetition }, async () => player.play(scale));
        }
      }
    },
  };
}

/** Reports a failure and goes on, so that one failing peer does not cost the figures of all others. */
export async function* attempt(
  of: Pick<Run, 'scenario' | 'contestant' | 'repetition'>,
  measure: () => Promise<Figures>,
): AsyncGenerator<Run> {
  let figures: Figures;
  try {
    figures = await measure();
  } catch (error) {
    console.error(`    ${of.contestant}: failed`, error);
    process.exitCode = 1;
    return;
  }
  yield { ...of, ...figures };
}
