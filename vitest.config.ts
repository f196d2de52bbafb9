import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    maxWorkers: 2,
    maxConcurrency: 3,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'model/**/*.test.ts', 'bench/**/*.test.ts', 'test/faults/**/*.test.ts'],
          exclude: ['src/embedded/**'],
          // properties try many cases, and the machine may be busy
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/{clients,examples,integration,package}/**/*.test.ts', 'src/embedded/**/*.test.ts'],
          globalSetup: ['test/support/services.setup.ts', 'test/support/page.setup.ts', 'test/clients/prisma.setup.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          globalSetup: ['test/support/cluster.setup.ts'],
          // what one test does to the cluster, the others would feel
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
