import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { nodeFault } from './node-version.ts';

test('nodeFault refuses what package.json does, and takes the oldest that it names', () => {
  const { engines } = JSON.parse(readFileSync('packages/streamer/package.json', 'utf8')) as {
    engines: { node: string };
  };
  expect(nodeFault(`${engines.node.replace('>=', '')}.0`)).toBeUndefined();
  for (const version of ['24.1.0', '26.0.0', process.versions.node]) expect(nodeFault(version)).toBeUndefined();
  for (const version of ['22.14.9', '20.20.2', '8.0.0'])
    expect(nodeFault(version)).toBe(`this is Node.js ${version}, and 22.15 is the oldest that will do`);
});
