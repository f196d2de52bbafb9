import { globSync, readFileSync } from 'node:fs';
import { basename, matchesGlob } from 'node:path';
import { expect, test } from 'vitest';
import { pages, stalePages } from '../scripts/docs.ts';
import { readSettings } from './app/settings.ts';
import { ERRORS } from './errors.ts';
import { SETTINGS } from './streamer/settings.ts';

test('the generated pages match their tables (if not: npm run docs)', () => {
  expect(stalePages()).toEqual([]);
});

test('docs/errors.md has every error code as a heading, which is its anchor, exactly once', () => {
  const { 'docs/errors.md': page = '' } = pages();
  const headings = [...page.matchAll(/^### (.+)$/gm)].map((match) => match[1]);
  expect(headings).toHaveLength(Object.keys(ERRORS).length);
  expect(new Set(headings)).toEqual(new Set(Object.keys(ERRORS)));
});

test('docs/configuration.md and .env.example list every setting', () => {
  const { 'docs/configuration.md': page, '.env.example': example } = pages();
  for (const name of Object.keys(SETTINGS)) {
    expect(page).toContain(`| \`${name}\``);
    expect(example).toMatch(new RegExp(`^(# )?${name}=`, 'm'));
  }
});

test('readSettings has the defaults and limits that SETTINGS documents for the library', () => {
  const { OUTBOX_ENVIRONMENT, OUTBOX_MAX_EVENT_BYTES, OUTBOX_SCHEMA } = SETTINGS;
  const { min, max } = OUTBOX_MAX_EVENT_BYTES;
  expect(readSettings({})).toMatchObject({
    schema: OUTBOX_SCHEMA.default,
    environment: OUTBOX_ENVIRONMENT.default,
    maxEventBytes: OUTBOX_MAX_EVENT_BYTES.default,
  });
  for (const bytes of [min, max]) {
    expect(readSettings({ OUTBOX_MAX_EVENT_BYTES: String(bytes) }).maxEventBytes).toBe(bytes);
  }
  for (const bytes of [min - 1, max + 1]) {
    expect(() => readSettings({ OUTBOX_MAX_EVENT_BYTES: String(bytes) })).toThrow('OUTBOX_MAX_EVENT_BYTES');
  }
});

/** The tests that a page names, some by a pattern: `inputs-*.test.ts`. */
const testsIn = (text: string): string[] => [...text.matchAll(/`([\w.*-]+\.test\.ts)`/g)].map(([, name]) => name!);

test.each(['docs/guarantees.md', 'SECURITY.md'])('every test that %s names is there', (page) => {
  const files = globSync('{src,model,test}/**/*.test.ts').map((path) => basename(path));
  const named = testsIn(readFileSync(page, 'utf8'));
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !files.some((file) => matchesGlob(file, name)))).toEqual([]);
});

test('every line of the threat model in SECURITY.md names a test', () => {
  const [, model = ''] = readFileSync('SECURITY.md', 'utf8').split('## Who can do what');
  const [, , ...lines] = model.split('\n').filter((line) => line.startsWith('|'));
  expect(lines.length).toBeGreaterThan(8);
  expect(lines.filter((line) => testsIn(line.split('|').at(-2) ?? '').length === 0)).toEqual([]);
});
