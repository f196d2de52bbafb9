import type { Fault } from '../fault.ts';
import { ACCOUNT_FAULTS } from './accounts.ts';
import { CATALOG_FAULTS } from './catalogs.ts';
import { CRASH_POINTS } from './crash-points.ts';
import { INSERT_FAULTS } from './inserts.ts';
import { LINK_FAULTS } from './links.ts';
import { SERVER_FAULTS } from './servers.ts';
import { STREAMER_FAULTS } from './streamer.ts';
import { TABLE_FAULTS } from './tables.ts';
import { TWO_STREAMERS } from './two-streamers.ts';

export const FAULTS: readonly Fault[] = [
  ...STREAMER_FAULTS,
  ...CRASH_POINTS,
  ...TWO_STREAMERS,
  ...SERVER_FAULTS,
  ...LINK_FAULTS,
  ...INSERT_FAULTS,
  ...CATALOG_FAULTS,
  ...TABLE_FAULTS,
  ...ACCOUNT_FAULTS,
];
