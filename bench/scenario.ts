import type { Figures, Run } from './figures.ts';

/** How large and how often; what `--quick` and the other flags change. */
export interface Scale {
  /** Events of a backlog; the large one has ten times as many. */
  readonly events: number;
  readonly repeat: number;
  /** Of each live load. */
  readonly liveSeconds: number;
  /** Of each step of the search for the highest rate. */
  readonly stepSeconds: number;
  readonly outageSeconds: number;
  /** Whether a contestant of a scenario was asked for. */
  readonly wants: (scenario: string, contestant: string) => boolean;
}

export interface Scenario {
  readonly name: string;
  /** What happens, for who reads the figures. */
  readonly about: string;
  /** Who takes part, and how each is set up. */
  readonly contestants: readonly { readonly name: string; readonly about: string }[];
  /** Repetitions are interleaved: all contestants once, then all once more. */
  run(scale: Scale): AsyncIterable<Run>;
}

/** A contestant that needs no preparation. */
export interface Player {
  readonly name: string;
  readonly about: string;
  play(scale: Scale): Promise<Figures>;
}

/** A scenario whose contestants start from nothing each time. */
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

/** What fails is said, and the rest goes on: one peer must not cost the figures of all others. */
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
