import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import * as library from './index.ts';

test('what a browser or an edge runtime finds is refused by name, and has every export of the library', async () => {
  await expect(import('./unsupported.ts')).rejects.toMatchObject({ code: 'OUTBOX_RUNTIME_UNSUPPORTED' });
  const source = await readFile(join(import.meta.dirname, 'unsupported.ts'), 'utf8');
  const names = [...source.matchAll(/^export (?:const |\{ )(\w+)/gm)].map(([, name = '']) => name);
  expect(names.toSorted()).toEqual(Object.keys(library).toSorted());
});
