import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

const SUBJECTS = new URL('subjects/', import.meta.url);

/** The lines without indentation, because in the code each recipe is inside a function. */
function lines(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join('\n');
}

test('every recipe of docs/clients.md is in the code that the client tests run', async () => {
  const page = await readFile(new URL('../../docs/clients.md', import.meta.url), 'utf8');
  const recipes = [...page.matchAll(/```ts\n([^`]*?(?:`[^`]+`[^`]*?)*?)```/g)].map(([, code]) => lines(code!));
  expect(recipes.length).toBeGreaterThanOrEqual(9);
  const files = await Promise.all(
    (await readdir(SUBJECTS)).map(async (name) => lines(await readFile(new URL(name, SUBJECTS), 'utf8'))),
  );
  expect(recipes.filter((recipe) => !files.some((code) => code.includes(recipe)))).toEqual([]);
});
