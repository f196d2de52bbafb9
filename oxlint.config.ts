import { defineConfig } from 'oxlint';
import type { OxlintOverride } from 'oxlint';
import { ENGINE, ROOMS } from './scripts/rooms.ts';

const CLICKHOUSE_CLIENT = {
  name: '@clickhouse/client',
  message: 'Only src/streamer/clickhouse/client.ts speaks to ClickHouse, by the connections of host-ring.ts.',
};
/** What its SELECTs are sent with, no request that somebody builds by himself would be: an answer could be short, or another's. */
const OWN_REQUESTS =
  'Only src/streamer/clickhouse/client.ts sends requests: each SELECT must be sent with every setting that could change its answer.';
const HTTP_CLIENTS = ['http', 'https', 'http2'].flatMap((name) =>
  [name, `node:${name}`].map((module) => ({ name: module, message: OWN_REQUESTS, allowTypeImports: true })),
);
const SPEAKERS = [CLICKHOUSE_CLIENT, { name: 'undici', message: OWN_REQUESTS }, ...HTTP_CLIENTS];
const OTHER_HALVES = {
  group: ['**/app/**', '**/demo/**', '**/embedded/**'],
  message: 'The streamer knows nothing of the library, the demo and the embedded services.',
};

/** A room may import from the rooms that it uses, and from none above it: see scripts/rooms.ts. */
function wallOf(room: string, uses: readonly string[]): (typeof OTHER_HALVES)[] {
  const others = [...Object.keys(ROOMS), 'commands'].filter((other) => other !== room && !uses.includes(other));
  const group = [...others.map((other) => `**/${other}/**`), ...ENGINE.map((file) => `../${file}.ts`)];
  const message = `src/streamer/${room} uses ${uses.join(', ') || 'no other room'}: see scripts/rooms.ts.`;
  return [OTHER_HALVES, { group, message }];
}

const walls = Object.entries(ROOMS).map(([room, uses]): OxlintOverride => ({
  files: [`src/streamer/${room}/**`],
  rules: { 'no-restricted-imports': ['error', { paths: SPEAKERS, patterns: wallOf(room, uses) }] },
}));

export default defineConfig({
  plugins: ['typescript', 'unicorn', 'oxc', 'import', 'promise', 'node', 'vitest'],
  categories: { correctness: 'error', suspicious: 'error' },
  ignorePatterns: ['dist', 'node_modules'],
  rules: {
    'typescript/no-floating-promises': [
      'error',
      { allowForKnownSafeCalls: [{ from: 'package', name: 'test', package: 'node:test' }] },
    ],
    'typescript/no-misused-promises': 'error',
    'typescript/await-thenable': 'error',
    'typescript/return-await': 'error',
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    'typescript/no-explicit-any': 'error',
    'typescript/only-throw-error': 'error',
    'typescript/prefer-promise-reject-errors': 'error',
    'typescript/no-unnecessary-condition': 'off',
    'no-restricted-imports': ['error', { paths: [CLICKHOUSE_CLIENT] }],
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'import/no-unassigned-import': 'off',
    'no-await-in-loop': 'off',
    'no-underscore-dangle': 'off',
    'no-shadow': 'error',
    'typescript/no-unsafe-type-assertion': 'off',
    'typescript/no-unnecessary-type-parameters': 'off',
    'import/no-named-as-default-member': 'off',
    'unicorn/consistent-function-scoping': 'off',
    'vitest/expect-expect': ['error', { assertFunctionNames: ['expect*'] }],
  },
  overrides: [
    {
      files: ['src/app/**'],
      rules: {
        'no-restricted-imports': [
          'error',
          {
            patterns: [
              { group: ['**/streamer/**', '**/demo/**'], message: 'The library knows nothing of the streamer.' },
              {
                group: ['pg', 'pg/*', '@clickhouse/*', 'pino', '@opentelemetry/sdk-*'],
                message: 'The library brings no driver and no service dependency into applications.',
              },
            ],
          },
        ],
      },
    },
    {
      files: ['src/streamer/**'],
      rules: {
        'no-restricted-imports': ['error', { paths: SPEAKERS, patterns: [OTHER_HALVES] }],
        'no-restricted-globals': [
          'error',
          ...['fetch', 'WebSocket', 'EventSource'].map((name) => ({ name, message: OWN_REQUESTS })),
        ],
      },
    },
    ...walls,
    {
      files: ['src/streamer/clickhouse/client.ts', 'src/streamer/clickhouse/host-ring.ts'],
      rules: { 'no-restricted-imports': ['error', { patterns: wallOf('clickhouse', ROOMS['clickhouse'] ?? []) }] },
    },
    {
      // it serves the health port, and the command healthcheck asks there
      files: ['src/streamer/telemetry/health.ts'],
      rules: {
        'no-restricted-imports': [
          'error',
          { paths: [CLICKHOUSE_CLIENT], patterns: wallOf('telemetry', ROOMS['telemetry'] ?? []) },
        ],
      },
    },
    {
      files: ['src/console/**'],
      rules: {
        'no-restricted-imports': [
          'error',
          {
            patterns: [
              {
                group: ['**/streamer/**', '**/app/**', '**/embedded/**', '**/demo/**', 'node:*'],
                message: 'The page is for browsers: of the streamer it knows the types of its answers alone.',
                allowTypeImports: true,
              },
            ],
          },
        ],
      },
    },
    {
      files: ['src/streamer/commands/console/server.ts'],
      rules: { 'no-restricted-imports': ['error', { paths: [CLICKHOUSE_CLIENT], patterns: [OTHER_HALVES] }] },
    },
    {
      files: ['src/**/*.{test,fixture}.ts', 'src/{embedded,demo}/**', 'test/**', 'bench/**'],
      rules: { 'no-restricted-imports': 'off', 'no-restricted-globals': 'off' },
    },
  ],
});
