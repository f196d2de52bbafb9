import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['src/**/*.test.ts', 'model/**/*.test.ts'], exclude: ['src/embedded/**'] } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts', 'src/embedded/**/*.test.ts'],
          globalSetup: ['test/support/services.setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
