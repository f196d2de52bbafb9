import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OutboxError } from '../../../errors.ts';
import type { JsonSchema } from './json-schema.ts';
import { jsonSchemaOf } from './standard.ts';

/** Under which the library keeps a definition; the same in every copy of it. */
const DEFINITION = Symbol.for('pg-outbox-clickhouse.definition');

/** An event's type and version, and the JSON Schema of its context; undefined where types alone define it. */
export interface Definition {
  readonly type: string;
  readonly version: string;
  readonly schema: JsonSchema | undefined;
}

/** What the library keeps. */
interface Kept {
  readonly type: string;
  readonly version: number | bigint;
  readonly schema: unknown;
}

/** What to do about codes with which Node refuses to load a module. */
const NEXT: Readonly<Record<string, string>> = {
  ERR_UNKNOWN_FILE_EXTENSION:
    'Use Node.js 22.18 or newer, which loads TypeScript by itself; or name the JavaScript that your build makes of the file.',
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX:
    'Node.js only removes types: it knows no enums, namespaces and parameter properties. Name the JavaScript that your build makes of the file, or give Node.js a loader: NODE_OPTIONS="--import tsx".',
  ERR_MODULE_NOT_FOUND:
    'Node.js loads the file as it is: an import of another file needs its extension (`./orders.ts`), and paths of tsconfig.json mean nothing to it. Name the JavaScript that your build makes of the file, or give Node.js a loader: NODE_OPTIONS="--import tsx".',
};

/**
 * The definitions that modules export, by whatever names: each by itself, or in arrays and objects. In the order of types and versions.
 *
 * @param paths of modules in TypeScript or JavaScript
 * @throws OutboxError OUTBOX_CATALOG_UNREADABLE where a module cannot be loaded, exports no definition, or has a schema that its library
 *   cannot tell
 */
export async function loadDefinitions(paths: readonly string[]): Promise<Definition[]> {
  const found = new Map<string, Kept>();
  for (const path of paths) {
    const kept = [...new Set(definitionsIn(await load(path), 0))];
    if (kept.length === 0)
      throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', { detail: `${path} exports nothing that defineEvent made` });
    for (const definition of kept) {
      const key = JSON.stringify([definition.type, String(definition.version)]);
      if ((found.get(key) ?? definition) !== definition)
        throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', {
          detail: `two definitions have the type ${JSON.stringify(definition.type)} and the version ${definition.version}`,
          next: 'Give one of them another version, or export only one of them.',
        });
      found.set(key, definition);
    }
  }
  return [...found.values()].toSorted(inOrder).map(described);
}

async function load(path: string): Promise<object> {
  const absolute = resolve(path);
  if (!existsSync(absolute)) throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', { detail: `there is no file ${path}` });
  try {
    return (await import(pathToFileURL(absolute).href)) as object;
  } catch (error) {
    const { code = '', message = 'it threw what is no error' } = (error ?? {}) as { code?: string; message?: string };
    const [line = ''] = message.split('\n');
    throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', {
      detail: `Node.js ${process.versions.node} cannot load ${path}: ${code === '' ? '' : `${code}: `}${line}`,
      next: NEXT[code],
      cause: error,
    });
  }
}

/** A namespace has its definitions one level below the module's exports, an array in it two. */
const DEEPEST = 2;

function definitionsIn(value: unknown, depth: number): Kept[] {
  if (typeof value === 'function') {
    const kept: unknown = Reflect.get(value, DEFINITION);
    return kept === undefined ? [] : [kept as Kept];
  }
  if (typeof value !== 'object' || value === null || depth > DEEPEST) return [];
  // of anything else that a module exports, such as a database, nothing is read
  if (!Array.isArray(value) && ![null, Object.prototype].includes(Object.getPrototypeOf(value))) return [];
  return Object.values(value).flatMap((inner) => definitionsIn(inner, depth + 1));
}

function inOrder(one: Kept, other: Kept): number {
  if (one.type !== other.type) return one.type < other.type ? -1 : 1;
  return one.version < other.version ? -1 : 1;
}

function described({ type, version, schema }: Kept): Definition {
  try {
    return { type, version: String(version), schema: schema === undefined ? undefined : jsonSchemaOf(schema) };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0]! : 'it threw what is no error';
    throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', {
      detail: `the schema of ${JSON.stringify(type)}, version ${version}, has no JSON Schema: ${reason}`,
      next: 'Describe that part of the schema by what JSON holds of it, such as a text or a number.',
      cause: error,
    });
  }
}
