/**
 * Fetches Node's binaries of other versions, which the packages are tested on, out of npm packages, and prints their paths:
 * `OUTBOX_TEST_NODES=$(npm run --silent nodes -- 22.15.0 26.10.0) npm test`.
 */
import { delimiter, join } from 'node:path';
import { fetchPackage } from './npm-pack.ts';

function fetchNode(version: string): string {
  const directory = fetchPackage(`node-${process.platform}-${process.arch}`, version, ['package/bin/node']);
  return join(directory, 'bin/node');
}

console.log(process.argv.slice(2).map(fetchNode).join(delimiter));
