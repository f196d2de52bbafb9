import { versionsOf, type CatalogType } from './catalog.ts';
import { commentOf, EVENT_COLUMNS, sentence } from './columns.ts';
import type { Definition } from './definitions.ts';
import { OutboxError } from '../../../errors.ts';

/** What a type alone defines is any object. */
const ANY_CONTEXT = { type: 'object' } as const;

/** One JSON Schema for an event, as ClickHouse has it: which context goes with which type and version. */
export function jsonSchemaDocument(types: readonly CatalogType[]): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Events',
    anyOf: types.flatMap(({ type, versions, schemas }) =>
      versions.map((version, index) => ({
        title: `${type}, version ${version}`,
        type: 'object',
        properties: {
          event_type: { const: type },
          metadata_version: { const: numberOf(version) },
          event_context: schemas[index] ?? ANY_CONTEXT,
        },
        required: ['event_type', 'metadata_version', 'event_context'],
      })),
    ),
  };
}

function numberOf(version: string): number | string {
  return Number.isSafeInteger(Number(version)) ? Number(version) : version;
}

interface Branch {
  readonly properties: {
    readonly event_type: { readonly const: string };
    readonly metadata_version: { readonly const: number | string };
    readonly event_context: NonNullable<Definition['schema']>;
  };
}

/** Reads what jsonSchemaDocument made. Throws OUTBOX_CATALOG_UNREADABLE where it is something else. */
export function definitionsOf(document: string, path: string): Definition[] {
  try {
    const { anyOf } = JSON.parse(document) as { anyOf: readonly Branch[] };
    return anyOf.map(({ properties: { event_type: type, metadata_version: version, event_context: schema } }) => {
      if (typeof type.const !== 'string') throw new TypeError('the type of an event is no text');
      const isAny = JSON.stringify(schema) === JSON.stringify(ANY_CONTEXT);
      return { type: type.const, version: String(version.const), schema: isAny ? undefined : schema };
    });
  } catch (cause) {
    throw new OutboxError('OUTBOX_CATALOG_UNREADABLE', {
      detail: `${path} is not what \`catalog --json-schema\` prints`,
      next: 'Write the file again: pg-outbox-clickhouse catalog <file> --json-schema > <path>',
      cause,
    });
  }
}

/** An AsyncAPI document, version 3.0: a channel that is the table in ClickHouse, and a message for each type and version. */
export function asyncApiDocument(types: readonly CatalogType[], table: string): object {
  const messages = Object.fromEntries(
    types.flatMap(({ type, view, versions, schemas, description }) =>
      versions.map((version, index) => [
        `${view}.v${version}`,
        {
          name: type,
          title: `${type}, version ${version}`,
          ...(description === undefined ? {} : { summary: description }),
          contentType: 'application/json',
          payload: {
            schemaFormat: 'application/schema+json;version=draft-2020-12',
            schema: schemas[index] ?? ANY_CONTEXT,
          },
        },
      ]),
    ),
  );
  const names = Object.keys(messages);
  return {
    asyncapi: '3.0.0',
    info: { title: 'Events', version: '1.0.0' },
    channels: {
      events: {
        address: table,
        description: 'A table in ClickHouse, filled from the outbox in Postgres.',
        messages: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
      },
    },
    operations: { emit: { action: 'send', channel: { $ref: '#/channels/events' } } },
    components: { messages },
  };
}

/** A page for people: each type with the columns of its view. */
export function markdownPage(types: readonly CatalogType[]): string {
  const own = Object.entries(EVENT_COLUMNS).map(([name, comment]) => `| \`${name}\` | ${cell(comment)} |`);
  return `# Events

Each type of event is a view in ClickHouse. Every view has these columns, and those of its own below.

| Column | Meaning |
| --- | --- |
${own.join('\n')}

${types.map(sectionOf).join('\n\n')}
`;
}

function sectionOf(type: CatalogType): string {
  const rows = type.columns.map(
    (column) => `| ${code(column.name)} | ${code(column.type)} | ${cell(commentOf(column))} |`,
  );
  const table = rows.length === 0 ? [] : ['', '| Column | Type | Meaning |', '| --- | --- | --- |', ...rows];
  return [
    `## ${cell(type.view)}`,
    '',
    `${type.description === undefined ? '' : `${cell(sentence(type.description))} `}Events of the type ${code(type.type)}, ${versionsOf(type)}.`,
    ...(type.notes.length === 0 ? [] : ['', ...type.notes.map((note) => `- ${cell(note)}`)]),
    ...table,
  ].join('\n');
}

/** In a table, where a line or a bar of somebody's text would end the cell. */
function cell(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll(/[\\|<>*`[\]]/g, String.raw`\$&`);
}

function code(text: string): string {
  const plain = text.replaceAll(/\s+/g, ' ').replaceAll('|', String.raw`\|`);
  return plain.includes('`') ? `\`\` ${plain} \`\`` : `\`${plain}\``;
}
