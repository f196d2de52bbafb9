import type { Plan } from './plan.ts';
import type { Broken } from './rules.ts';
import { LARGE_WORLDS } from './worlds.large.ts';
import { VOIDED, WORLDS, type Known } from './worlds.ts';

/** What explore finds: nothing, or the property that is violated first. */
export type Outcome =
  | 'holds'
  | 'lost'
  | 'twice'
  | 'claimed'
  | 'uncounted'
  | 'needless'
  | 'altered'
  | 'undone'
  | 'unnoticed'
  | 'false stop'
  | 'strayed'
  | 'stuck';

export interface Scenario {
  readonly name: string;
  readonly plan: Plan;
  readonly expected: Outcome;
  /** Numbers in docs/guarantees.md. */
  readonly invariants: readonly number[];
}

/** A rule is broken in a world that shows it; where another rule masks it, both are. */
const MUTATIONS: readonly [readonly Broken[], keyof typeof WORLDS, Outcome, readonly number[]][] = [
  [['ackWhenCut'], 'restart', 'lost', [2]],
  [['ackWhenAnswered'], 'restart', 'false stop', [2, 8]],
  [['ackPastEnd'], 'restart', 'lost', [2]],
  [['ackLimitAfter'], 'restart', 'false stop', [2, 8]],
  [['noAckLimit'], 'slot made again', 'unnoticed', [8]],
  [['takeKeepsAckLimit'], 'failover, synced slot', 'false stop', [8]],
  [['idleAckWhileBuffered'], 'restart', 'lost', [2]],
  [['ackPastQuarantine'], 'failover, synced slot', 'lost', [2, 7]],
  [['holdForgotten'], 'failover, synced slot', 'lost', [2, 7]],
  [['settleEarly'], 'restart', 'claimed', [3]],
  [['noIntent'], 'restart', 'twice', [3]],
  [['cutAnew'], 'restart', 'twice', [4]],
  [['cutByLimits'], 'restart', 'altered', [4]],
  [['noEpochCheckOnIntent', 'noCompare'], 'takeover', 'twice', [5]],
  [['noEpochCheckOnSettle'], 'window off', 'twice', [5]],
  [['sameEpochAfterLostWrite', 'noCompare'], 'takeover', 'twice', [5]],
  [['lazyLedger'], 'Postgres crashes', 'twice', [3]],
  [['readBeforeTake'], 'window off', 'twice', [5]],
  [['keepMemory'], 'failover, synced slot', 'lost', [5]],
  [['endUnfenced'], 'shares', 'strayed', [4, 5]],
  [['ackPastShare'], 'shares', 'lost', [2]],
  [['detachUnfenced'], 'detached', 'twice', [5]],
  [['repairUnwaited'], 'detached', 'twice', [4]],
  [['newTokenOnRetry'], 'restart', 'twice', [4]],
  [['rangeToken'], 'failover, two streamers', 'claimed', [4]],
  [['noDeadline'], 'failover, two streamers', 'twice', [5]],
  [['longInserts'], 'old token', 'twice', [4]],
  [['trustForEver'], 'old token', 'twice', [4]],
  [['noWindow'], 'restart', 'twice', [4]],
  [['doubtInMemory'], 'window off', 'twice', [4]],
  [['replacedUnseen'], 'table replaced', 'twice', [4]],
  [['noReadBack'], 'failover, refused row', 'twice', [4]],
  [['readBackUnwaited'], 'failover', 'twice', [4]],
  [['readBackOnceAttached'], 'old token', 'twice', [4]],
  [['noDistrust'], 'restore, refused row', 'twice', [4]],
  [['distrustByReach'], 'restore, refused row', 'twice', [4]],
  [['quickRestore'], 'restore, refused row', 'twice', [4]],
  [['sameTokenAgain'], 'replicas', 'stuck', [4]],
  [['lookUpBehind'], 'replicas', 'twice', [4]],
  [['lookUpUnchecked'], 'replicas, Keeper away', 'claimed', [4]],
  [['settleUncounted'], 'replicas', 'claimed', [4]],
  [['lookUpUnheld'], 'quorum, old token', 'claimed', [4]],
  [['retryUncounted'], 'replicas, refused row', 'claimed', [7]],
  [['viewsTrusted'], 'failing view', 'twice', [4]],
  [['viewsUnsaid'], 'failing view', 'uncounted', [4]],
  [['viewsUncounted'], 'failing view', 'twice', [4]],
  [['splitUnwaited'], 'refused row', 'twice', [4]],
  [['splitInMemory'], 'refused row', 'twice', [3]],
  [['splitAlthoughThere'], 'out of memory', 'twice', [4]],
  [['splitOnlyIfRangeAbsent'], 'failover, row never fixed', 'stuck', [7]],
  [['splitForgetsReadBack'], 'out of memory, old token', 'twice', [4]],
  [['quarantineInTwo'], 'refused row', 'twice', [7]],
  [['quarantineHeavy'], 'out of memory', 'needless', [7]],
  [['repeatHeavyForEver'], 'row too large', 'stuck', [7]],
  [['quarantineUnwitnessed'], 'broken table', 'needless', [7]],
  [['aheadUnsaid'], 'refused row, first', 'twice', [4]],
  [['aheadForgotten'], 'refused row, first', 'twice', [4]],
  [['aheadUnwaited'], 'refused row, first', 'twice', [4]],
  [['retryAnyToken'], 'retry, old token', 'twice', [7]],
  [['retryDeletesFirst'], 'retry', 'claimed', [7]],
  [['retryBlindly'], 'retry, old token', 'twice', [7]],
];

const voided: Readonly<Record<keyof typeof VOIDED, Outcome>> = {
  'void: of one insert, a part is unknown to Keeper, and then the one that it knows is dropped': 'claimed',
  'void: the stream overtakes the standby': 'undone',
  'void: the slot overtakes a quarantined row': 'lost',
  'void: the table breaks while a refused row is looked for': 'needless',
};

export const SMALL: readonly Scenario[] = [
  ...Object.entries(WORLDS).map(([name, world]) => scenario(name, world, 'holds')),
  ...Object.entries(VOIDED).map(([name, world]) => scenario(name, world, voided[name as keyof typeof VOIDED])),
  ...MUTATIONS.map(([broken, world, expected, invariants]) =>
    scenario(broken.join('+'), { ...WORLDS[world], invariants, broken }, expected),
  ),
];

export const LARGE: readonly Scenario[] = Object.entries(LARGE_WORLDS).map(([name, world]) =>
  scenario(name, world, 'holds'),
);

function scenario(name: string, { invariants, ...plan }: Known, expected: Outcome): Scenario {
  return { name, plan, expected, invariants };
}
