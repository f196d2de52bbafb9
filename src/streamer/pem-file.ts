import { readFileSync } from 'node:fs';

/**
 * Certificates or a key. Throws where the file cannot be read, and where nothing is in it: an empty list of authorities would mean
 * those of Node.js, which sign for anybody.
 */
export function readPem(path: string, readFile: (path: string) => string = readText): string {
  const text = readFile(path);
  if (text.trim() === '') throw Object.assign(new Error('the file is empty'), { code: 'empty' });
  return text;
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
