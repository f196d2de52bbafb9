import { access, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ENTRY, MUTATIONS, patched } from './mutations.ts';

const RECORD = new URL('mutations.md', import.meta.url);
const STREAMER = new URL('../../src/streamer/', import.meta.url);

test.for(MUTATIONS)('the mutation "$name" still finds the code that it breaks, once per patch', async ({ patches }) => {
  const broken = new Map<string, string>();
  for (const patch of patches) {
    const source = broken.get(patch.file) ?? (await readFile(new URL(patch.file, STREAMER), 'utf8'));
    broken.set(patch.file, patched(source, patch));
    expect(broken.get(patch.file)).not.toBe(source);
  }
});

test('what is run of a mutated copy is there', async () => {
  // without it every mutation would be noticed
  await expect(access(new URL(ENTRY, STREAMER))).resolves.toBeUndefined();
});

test('mutations.md records each mutation with the files that it changes', async () => {
  const record = await readFile(RECORD, 'utf8');
  for (const { name, patches } of MUTATIONS) {
    const row = record.split('\n').find((line) => line.startsWith(`| ${name} `));
    const files = new Set(patches.map(({ file }) => `\`${file}\``));
    expect(row?.split('|')[2]?.trim()).toBe([...files].join(', '));
  }
});
