import type { Scenario } from './scenario.ts';
import { CATCH_UPS } from './scenarios/catch-up.ts';
import { FAULTS } from './scenarios/faults.ts';
import { LIVE } from './scenarios/live.ts';
import { SUSTAINED } from './scenarios/sustained.ts';

/** All scenarios of `npm run bench`, in the order in which they run and are shown. */
export const SCENARIOS: readonly Scenario[] = [...CATCH_UPS, LIVE, SUSTAINED, FAULTS];
