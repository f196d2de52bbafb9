import type { Plan } from './plan.ts';

export interface Known extends Plan {
  /** Numbers in docs/guarantees.md of what it guards. */
  readonly invariants: readonly number[];
}

/** All rules together hold in each. */
export const WORLDS = {
  restart: { transactions: [2, 1], faults: { crash: 1, lostAnswer: 2 }, invariants: [2, 3, 4] },
  'Postgres crashes': {
    transactions: [2, 0, 1],
    faults: { crash: 1, lostAnswer: 1, postgresCrash: 1 },
    invariants: [2, 4],
  },
  'lost writes': { transactions: [2], faults: { crash: 1, lostAnswer: 1, lostWrite: 2 }, invariants: [3, 5] },
  'two streamers': {
    transactions: [2, 1],
    committed: 2,
    streamers: 2,
    faults: { crash: 1, lostAnswer: 1, takeover: 1 },
    invariants: [5],
  },
  takeover: {
    transactions: [1, 1],
    committed: 2,
    streamers: 2,
    faults: { lostAnswer: 1, lostWrite: 1, takeover: 1 },
    invariants: [5],
  },
  'slot made again': {
    transactions: [1, 1],
    faults: { crash: 1, slotRecreated: 1, postgresCrash: 1 },
    invariants: [8],
  },
  partitions: {
    transactions: [2, 1],
    committed: 2,
    partitions: 2,
    faults: { crash: 1, lostAnswer: 1, time: 1 },
    invariants: [4],
  },
  'old token': { transactions: [2, 1], committed: 2, faults: { crash: 1, lostAnswer: 2, time: 1 }, invariants: [4] },
  'window off': {
    transactions: [2],
    committed: 1,
    faults: { crash: 2, lostAnswer: 1, lostWrite: 1, windowOff: 1 },
    invariants: [4, 5],
  },
  'table replaced': {
    transactions: [2, 1],
    committed: 1,
    faults: { crash: 1, lostAnswer: 1, lostWrite: 1, tableReplaced: 1 },
    invariants: [4, 5],
  },
  'failing view': {
    transactions: [2],
    committed: 1,
    view: true,
    faults: { crash: 1, lostAnswer: 1, time: 1, viewBreaks: 1 },
    invariants: [4],
  },
  'refused row': {
    transactions: [2, 1],
    committed: 2,
    poison: [1],
    faults: { crash: 1, lostAnswer: 1, heal: 1 },
    invariants: [4, 7],
  },
  'refused row, first': {
    transactions: [2, 1],
    committed: 2,
    poison: [0],
    faults: { crash: 1, lostAnswer: 1, heal: 1 },
    invariants: [4, 7],
  },
  'broken table': {
    transactions: [2, 1],
    committed: 2,
    faults: { crash: 1, lostAnswer: 1, tableBreaks: 1 },
    invariants: [4, 7],
  },
  'out of memory': {
    transactions: [2, 1],
    committed: 2,
    faults: { crash: 1, lostAnswer: 1, memory: 2 },
    invariants: [4, 7],
  },
  'out of memory, old token': {
    transactions: [2],
    committed: 1,
    partitions: 2,
    faults: { crash: 1, memory: 2, time: 1 },
    invariants: [4, 7],
  },
  'row too large': {
    transactions: [2, 1],
    committed: 2,
    large: [1],
    faults: { crash: 1, lostAnswer: 1, memory: 1 },
    invariants: [4, 7],
  },
  'row too large, first': {
    transactions: [1, 1],
    committed: 2,
    large: [0],
    faults: { crash: 1, lostAnswer: 1, memory: 2 },
    invariants: [4, 7],
  },
  failover: { transactions: [1, 1], faults: { crash: 1, lostAnswer: 1, failover: 1 }, invariants: [4, 8] },
  'failover, two streamers': {
    transactions: [1, 1],
    streamers: 2,
    faults: { failover: 1, takeover: 1 },
    invariants: [4, 5],
  },
  'failover, synced slot': {
    transactions: [1, 1],
    slotsWaitForStandby: true,
    noLostEvents: true,
    poison: [0],
    faults: { crash: 1, failover: 1, heal: 1 },
    invariants: [1, 2, 4, 7],
  },
  'failover, row never fixed': {
    transactions: [1, 1],
    slotsWaitForStandby: true,
    noLostEvents: true,
    poison: [0],
    faults: { crash: 1, failover: 1 },
    invariants: [1, 2, 4, 7],
  },
  'failover, refused row': {
    transactions: [2, 1],
    committed: 2,
    slotsWaitForStandby: true,
    poison: [1],
    faults: { crash: 1, failover: 1, heal: 1 },
    invariants: [4, 7],
  },
  restore: { transactions: [1, 1], faults: { crash: 1, lostAnswer: 1, restore: 1 }, invariants: [4, 8] },
  'restore, refused row': {
    transactions: [2, 1],
    committed: 2,
    poison: [1],
    faults: { crash: 1, heal: 1, restore: 1 },
    invariants: [4, 7],
  },
  'restore, old token': {
    transactions: [1, 1],
    committed: 1,
    faults: { crash: 1, restore: 1, time: 1 },
    invariants: [4],
  },
  retry: {
    transactions: [1, 1],
    committed: 2,
    poison: [0],
    retry: true,
    faults: { heal: 1, lostAnswer: 1, killRetry: 1 },
    invariants: [7],
  },
  'retry, old token': {
    transactions: [2],
    committed: 1,
    poison: [0],
    retry: true,
    faults: { heal: 1, lostAnswer: 1, killRetry: 1, time: 1, postgresCrash: 1 },
    invariants: [4, 7],
  },
  'retry, failover': {
    transactions: [1, 1],
    committed: 2,
    poison: [0],
    retry: true,
    slotsWaitForStandby: true,
    faults: { heal: 1, killRetry: 1, failover: 1 },
    invariants: [7],
  },
  'retry, restore': {
    transactions: [1, 1],
    committed: 2,
    poison: [0],
    retry: true,
    faults: { heal: 1, killRetry: 1, restore: 1 },
    invariants: [7],
  },
} satisfies Record<string, Known>;

/** Outside of what is promised: what each lacks voids a guarantee, and this is how it shows. */
export const VOIDED = {
  'void: the stream overtakes the standby': {
    transactions: [1, 1],
    noLostEvents: true,
    faults: { failover: 1 },
    invariants: [1],
  },
  'void: the slot overtakes a quarantined row': {
    transactions: [1, 1],
    poison: [0],
    faults: { failover: 1 },
    invariants: [2, 7],
  },
  'void: the table breaks while a refused row is looked for': {
    transactions: [3],
    committed: 1,
    poison: [2],
    faults: { tableBreaks: 1 },
    invariants: [7],
  },
} satisfies Record<string, Known>;
