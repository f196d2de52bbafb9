import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** Of the package; where the sources run, scripts/page.ts has built it. */
const BUILT = fileURLToPath(
  new URL(
    extname(import.meta.filename) === '.ts' ? '../../../../build/console/' : '../../../console/',
    import.meta.url,
  ),
);
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** A file of the page, in memory. */
export interface Asset {
  readonly type: string;
  readonly plain: Buffer;
  readonly zipped: Buffer;
  readonly etag: string;
  /** Its name holds its hash. */
  readonly isForEver: boolean;
}

/** The page's files by their paths. */
export function loadAssets(directory = BUILT): ReadonlyMap<string, Asset> {
  if (!existsSync(`${directory}/index.html`))
    throw new Error(`the console’s page is not in ${directory}: run \`npm run page\``);
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => extname(name) in TYPES);
  return new Map(names.map((name) => [`/${name === 'index.html' ? '' : name}`, read(directory, name)]));
}

function read(directory: string, name: string): Asset {
  const plain = readFileSync(`${directory}/${name}`);
  return {
    type: TYPES[extname(name)]!,
    plain,
    zipped: gzipSync(plain, { level: 9 }),
    etag: `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`,
    isForEver: name.startsWith('assets/'),
  };
}
