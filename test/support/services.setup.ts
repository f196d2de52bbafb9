import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** A superuser's URL of the Postgres under test. */
    postgresUrl: string;
    /** An administrator's URL of the ClickHouse under test. */
    clickhouseUrl: string;
  }
}

interface Services {
  readonly postgresUrl: string;
  readonly clickhouseUrl: string;
  readonly dispose: () => Promise<void>;
}

/** One Postgres and one ClickHouse for all integration tests; each test takes databases of its own in them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const choice = process.env['OUTBOX_TEST_SERVICES'] || 'embedded';
  if (choice !== 'embedded' && choice !== 'containers')
    throw new Error('OUTBOX_TEST_SERVICES must be "embedded" or "containers"');
  const { start } = (await import(`./services.${choice}.ts`)) as { start: () => Promise<Services> };
  const { postgresUrl, clickhouseUrl, dispose } = await start();
  project.provide('postgresUrl', postgresUrl);
  project.provide('clickhouseUrl', clickhouseUrl);
  return dispose;
}
