import { readFileSync } from 'node:fs';
import { OutboxError } from '../../errors.ts';
import { readConfig } from '../config.ts';
import { catalogOf, type CatalogType } from './catalog/catalog.ts';
import { changesBetween } from './catalog/check.ts';
import { loadDefinitions } from './catalog/definitions.ts';
import { asyncApiDocument, definitionsOf, jsonSchemaDocument, markdownPage } from './catalog/documents.ts';
import { makeViews } from './catalog/views.ts';
import { say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse catalog <file>… [options]

Reads what defineEvent made out of modules in TypeScript or JavaScript, and
makes a view in ClickHouse for each event type: typed and commented columns for
the fields of its context, all versions as one. A view costs nothing at insert.

Options
  --database <name>  makes the views there, and not beside the table
  --check <path>     makes none: compares with a JSON Schema that --json-schema
                     printed before, and names each change that breaks readers.
                     Needs no server
  --json-schema      prints a JSON Schema of all events, and makes no view
  --asyncapi         prints an AsyncAPI document, and makes no view
  --markdown         prints a page for people, and makes no view

Exit codes
  0  made or printed; or nothing breaks readers
  1  failed; or something breaks readers
  2  wrong usage or configuration
`;

const PAGES = ['json-schema', 'asyncapi', 'markdown'] as const;

/**
 * `pg-outbox-clickhouse catalog`: returns the exit code. Throws what loadDefinitions and makeViews throw, OUTBOX_CATALOG_UNREADABLE and
 * OUTBOX_CONFIG_INVALID.
 */
export async function catalogCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, {
    options: {
      database: { type: 'string', default: '' },
      check: { type: 'string', default: '' },
      'json-schema': { type: 'boolean', default: false },
      asyncapi: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false },
    },
    help: HELP,
    check: ({ positionals, values }) => {
      if (positionals.length === 0) return 'Name the file that has the definitions, such as src/events.ts';
      const chosen = [...PAGES.filter((page) => values[page]), ...(values.check === '' ? [] : ['check'])];
      return chosen.length > 1 ? `--${chosen[0]} and --${chosen[1]} do not go together` : undefined;
    },
  });
  if (typeof usage === 'number') return usage;
  const { values, positionals } = usage;
  const types = catalogOf(await loadDefinitions(positionals));
  if (values.check !== '') return check(values.check, types);
  if (values['json-schema']) return print(json(jsonSchemaDocument(types)));
  if (values.asyncapi) return print(json(asyncApiDocument(types, env['OUTBOX_CLICKHOUSE_TABLE'] || 'events')));
  if (values.markdown) return print(markdownPage(types));
  const config = readConfig(env);
  const { clickhouseTable: table, clickhouseCluster: cluster } = config;
  await makeViews(config, types, { table, cluster, database: values.database }, (line) => say(`${line}\n`));
  return 0;
}

function json(document: object): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function check(path: string, types: readonly CatalogType[]): number {
  const { breaking, others } = changesBetween(catalogOf(definitionsOf(readText(path), path)), types);
  for (const change of breaking) say(`breaks readers: ${change}\n`);
  for (const change of others) say(`${change}\n`);
  if (breaking.length + others.length === 0) say('Nothing has changed.\n');
  return breaking.length === 0 ? 0 : 1;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', {
      detail: `${path} cannot be read`,
      next: `Write it first: pg-outbox-clickhouse catalog <file> --json-schema > ${path}`,
      cause,
    });
  }
}
