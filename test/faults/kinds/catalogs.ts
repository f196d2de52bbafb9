import { MOMENT_MS, type Fault } from '../fault.ts';
import type { World } from '../world.ts';

/** What was changed must be changed back, however long producers hold the table. */
const BACK_MS = 60_000;

/** Asks for the lock of the table no longer than producers can wait, until it gets it. */
async function alter(world: World, statements: string, ms = MOMENT_MS): Promise<boolean> {
  return world.within(ms, async () => {
    await world.ask(`DO $$ BEGIN SET LOCAL lock_timeout = '2s'; ${statements} END $$`);
    return true;
  });
}

/** Changes a catalog and changes it back, at once or after a while. */
const changed = (name: string, codes: readonly string[], there: string, back: string): Fault => ({
  name: `Postgres: ${name}`,
  touches: ['Postgres'],
  codes,
  inject: async (world, dice) => {
    if (dice.chance(0.3)) return alter(world, `${there}; ${back};`);
    if (!(await alter(world, `${there};`))) return false;
    await dice.pause(0, 3000);
    if (!(await alter(world, `${back};`, BACK_MS))) world.journal.violate(`Postgres does not do it: ${back}`);
    return true;
  },
});

/** Those that the ring fills today, and one that is empty. */
const partition = (words: string, ahead: number): Fault => {
  const bucket = `(extract(epoch FROM now())::bigint / 86400 + ${ahead}) % 32`;
  const run = (verb: string, values: string): string =>
    `EXECUTE format('ALTER TABLE outbox.event ${verb} PARTITION outbox.%I${values}', 'event_' || lpad((${bucket})::text, 2, '0'), ${bucket})`;
  return changed(words, [], run('DETACH', ''), run('ATTACH', ' FOR VALUES IN (%s)'));
};

/** Faults of Postgres' catalogs: somebody works on the tables while the stream runs. */
export const CATALOG_FAULTS: readonly Fault[] = [
  changed(
    'the table is renamed and back',
    ['OUTBOX_PUBLICATION_MISSING', 'OUTBOX_PG_NOT_MIGRATED'],
    'ALTER TABLE outbox.event RENAME TO event_old',
    'ALTER TABLE outbox.event_old RENAME TO event',
  ),
  changed(
    'a column is added and dropped',
    [],
    "ALTER TABLE outbox.event ADD COLUMN extra text DEFAULT 'more'",
    'ALTER TABLE outbox.event DROP COLUMN extra',
  ),
  partition('the partition of today is detached and attached', 0),
  partition('an empty partition is detached and attached', 3),
  {
    name: 'Postgres: the publication gets another owner',
    touches: ['Postgres'],
    inject: async (world) =>
      world.within(MOMENT_MS, async () => {
        await world.ask(
          `DO $$ DECLARE other text; BEGIN
             IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'other_owner') THEN CREATE ROLE other_owner SUPERUSER; END IF;
             SELECT rolname INTO other FROM pg_publication p JOIN pg_roles r ON r.oid <> p.pubowner
              WHERE p.pubname = 'outbox' AND r.rolname IN ('other_owner', current_user) LIMIT 1;
             EXECUTE format('ALTER PUBLICATION outbox OWNER TO %I', other);
           END $$`,
        );
        return true;
      }),
  },
];
