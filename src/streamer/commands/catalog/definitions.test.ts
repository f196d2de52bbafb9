import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadDefinitions } from './definitions.ts';

const LIBRARY = new URL('../../../app/define.ts', import.meta.url).href;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'definitions-'));
});

afterAll(async () => rm(directory, { recursive: true, force: true }));

async function module(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `import { defineEvent } from '${LIBRARY}';\n${text}`);
  return path;
}

test('loadDefinitions finds what modules export by any name, in arrays and objects, once each and in order', async () => {
  const file = await module(
    'events.ts',
    `const a2: unknown = defineEvent('a', { version: 2 }), a10 = defineEvent('a', { version: 10n }), b = defineEvent('b');
     export { b as again };
     export const all = { list: [a10, a2] };
     export default b;
     export class Other { static hidden = defineEvent('hidden'); }
     export const nothing = null, number = 7, cycle: object[] = [];
     cycle.push(cycle);`,
  );
  const other = await module('other.js', "export const c = defineEvent('c');");
  expect((await loadDefinitions([other, file])).map(({ type, version }) => `${type} ${version}`)).toEqual([
    'a 2',
    'a 10',
    'b 1',
    'c 1',
  ]);
});

test.each([
  ['none.ts', 'export const answer = 42;', 'exports nothing that defineEvent made', 'Export what'],
  ['path.ts', "export * from './orders';", 'ERR_MODULE_NOT_FOUND', 'needs its extension'],
  ['throws.ts', "throw new Error('no database');", 'no database', 'Export what'],
  ['null.ts', 'throw null;', 'it threw what is no error', 'Export what'],
  [
    'twice.ts',
    "export const a = defineEvent('a'), b = defineEvent('a');",
    'two definitions have the type "a" and the version 1',
    'another version',
  ],
])('loadDefinitions says what is wrong with %s, and what to do', async (name, text, found, next) => {
  const path = await module(name, text);
  await expect(loadDefinitions([path])).rejects.toMatchObject({
    code: 'OUTBOX_CATALOG_UNREADABLE',
    message: expect.stringContaining(found),
    next: expect.stringContaining(next),
  });
});

test('loadDefinitions names a file that is not there', async () => {
  await expect(loadDefinitions(['nowhere.ts'])).rejects.toThrow('there is no file nowhere.ts');
});
