import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { COMMANDS } from './streamer/commands/table.ts';
import { ERRORS } from './errors.ts';
import { SETTINGS } from './streamer/settings.ts';

/** By path. */
const PAGES = new Map(
  globSync('{*.md,{docs,examples,packages,deploy,model,bench,src,test,migrations}/**/*.md}', {
    exclude: (path) => /node_modules|dist|generated/.test(path),
  }).map((path): [string, string] => [path, readFileSync(path, 'utf8')]),
);
/** Of tests and benchmarks alone. */
const INTERNAL = /^OUTBOX_TEST_/;

/** What GitHub makes of headings. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)) {
    const anchor = heading!
      .toLowerCase()
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
    let unique = anchor;
    for (let n = 1; anchors.has(unique); n++) unique = `${anchor}-${n}`;
    anchors.add(unique);
  }
  return anchors;
}

test('every link between pages leads to a file and a heading that are there', () => {
  const dead: string[] = [];
  for (const [path, text] of PAGES)
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^\w+:/.test(target!)) continue;
      const [file = '', anchor] = target!.split('#');
      const to = file === '' ? path : normalize(join(dirname(path), decodeURIComponent(file)));
      const isThere = existsSync(to) && (anchor === undefined || anchorsOf(readFileSync(to, 'utf8')).has(anchor));
      if (!isThere) dead.push(`${path}: ${target}`);
    }
  expect(PAGES.size).toBeGreaterThan(30);
  expect(dead).toEqual([]);
});

test('every setting and error code that a page names is there', () => {
  const known = new Set([...Object.keys(SETTINGS), ...Object.keys(ERRORS)]);
  const unknown: string[] = [];
  for (const [path, text] of PAGES)
    for (const [name] of text.matchAll(/\bOUTBOX_[A-Z0-9]+(?:_[A-Z0-9]+)*\b(?!_|…|\*)/g))
      if (!known.has(name.replace(/_FILE$/, '')) && !known.has(name) && !INTERNAL.test(name))
        unknown.push(`${path}: ${name}`);
  expect(unknown).toEqual([]);
});

test('every command that a page calls is there', () => {
  const unknown: string[] = [];
  for (const [path, text] of PAGES)
    for (const [call, name] of text.matchAll(/(?:`|\$ |npx |bin\/)pg-outbox-clickhouse ([a-z]+)\b/g))
      if (!Object.hasOwn(COMMANDS, name!)) unknown.push(`${path}: ${call}`);
  expect(unknown).toEqual([]);
});
