/** The layout of docs/architecture.md, made of what stands in the code: the READMEs of folders, and the docstrings of the engine's files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENGINE, ROOMS } from './rooms.ts';

const ROOT = join(import.meta.dirname, '..');
const WIDTH = 116;
const NAME_WIDTH = 18;

const FOLDERS: readonly (readonly [folder: string, depth: number])[] = [
  ['src/app', 1],
  ['src/streamer', 1],
  ['src/streamer/commands', 2],
  ['src/streamer/commands/console', 3],
  ['src/streamer/commands/catalog', 3],
  ...Object.keys(ROOMS)
    .toReversed()
    .map((room) => [`src/streamer/${room}`, 2] as const),
  ['src/console', 1],
  ['src/embedded', 1],
  ['src/demo', 1],
  ['src/error-codes', 1],
  ['packages', 0],
  ['migrations', 0],
  ['deploy', 0],
  ['examples', 0],
  ['test', 0],
  ...['integration', 'support', 'package', 'clients', 'examples', 'faults'].map((name) => [`test/${name}`, 1] as const),
  ['model', 0],
  ['bench', 0],
  ['scripts', 0],
];

/** The tree, as one block of text. Throws when a folder has no README, or a file of the engine no docstring. */
export function layout(): string {
  const lines = FOLDERS.flatMap(([folder, depth]) => {
    const name = folder.split('/').at(-1)!;
    const own = entry(depth, `${name}/`, readmeOf(folder));
    return folder === 'src/streamer' ? [...own, ...ENGINE.flatMap((file) => entry(2, file, docstringOf(file)))] : own;
  });
  return ['src/', ...lines].join('\n');
}

/** The first paragraph below the title. */
function readmeOf(folder: string): string {
  const [, text] = readFileSync(join(ROOT, folder, 'README.md'), 'utf8').split('\n\n');
  if (text === undefined) throw new Error(`${folder}/README.md says nothing below its title`);
  return text.trim().replaceAll('\n', ' ');
}

/** The first sentence of the longest docstring of an exported function or class. */
function docstringOf(file: string): string {
  const source = readFileSync(join(ROOT, `src/streamer/${file}.ts`), 'utf8');
  const docstrings = [...source.matchAll(/\/\*\*((?:(?!\*\/)[^])*)\*\/\nexport (?:async function|function|class) /g)];
  const longest = docstrings.map(([, text]) => text!).toSorted((a, b) => b.length - a.length)[0];
  if (longest === undefined) throw new Error(`src/streamer/${file}.ts has no docstring`);
  const text = longest
    .replaceAll(/^\s*\*? ?/gm, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return /^.*?\.(?= |$)/.exec(text)?.[0] ?? text;
}

function entry(depth: number, name: string, text: string): string[] {
  const indent = ' '.repeat(2 * depth);
  const lines = [''];
  for (const word of text.split(' ')) {
    if (`${lines.at(-1)} ${word}`.length > WIDTH - NAME_WIDTH) lines.push('');
    lines[lines.length - 1] = `${lines.at(-1)} ${word}`.trim();
  }
  return lines.map((line, index) => `${(index === 0 ? `${indent}${name}` : '').padEnd(NAME_WIDTH)} ${line}`.trimEnd());
}
