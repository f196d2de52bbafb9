import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { typeOf } from './catalog.fixture.ts';
import { catalogOf } from './catalog.ts';
import { changesBetween } from './check.ts';
import { asyncApiDocument, definitionsOf, jsonSchemaDocument, markdownPage } from './documents.ts';

describe('changesBetween', () => {
  const before = z.object({ id: z.string(), n: z.int(), status: z.enum(['open']) });
  const changes = (after: unknown) => changesBetween([typeOf(before)], [typeOf(after)]);

  test('what breaks readers', () => {
    expect(changes(z.object({ n: z.string(), status: z.string() })).breaking).toEqual([
      'order_placed.id is gone',
      'order_placed.n is Nullable(String), which was Nullable(Int64)',
      'order_placed.status is Nullable(String), which was LowCardinality(Nullable(String))',
    ]);
    expect(changesBetween([typeOf(before)], []).breaking).toEqual([
      '"order.placed" is not defined any more; its view order_placed stays until somebody drops it',
    ]);
    expect(changes(z.object({ id: z.unknown(), n: z.int(), status: z.enum(['open']) })).breaking).toEqual([
      'order_placed.id holds json values, which were string',
    ]);
  });

  test('what does not', () => {
    const after = z.object({
      id: z.string().optional(),
      n: z.int(),
      status: z.enum(['open', 'paid']),
      added: z.boolean(),
    });
    expect(changes(after)).toEqual({
      breaking: [],
      others: [
        'order_placed.id is optional now: it may be NULL',
        'order_placed.status may be "paid", too',
        'order_placed.added is new: Nullable(Bool)',
      ],
    });
    expect(changesBetween([], [typeOf(before)]).others).toEqual(['"order.placed" is new: the view order_placed']);
  });
});

describe('documents', () => {
  const schema = z.object({ id: z.string().describe('An | id') }).describe('It was placed');
  const catalog = [typeOf(schema, undefined)];

  test('the JSON Schema tells everything that --check needs, and nothing else is taken for one', () => {
    const text = JSON.stringify(jsonSchemaDocument(catalog));
    expect(catalogOf(definitionsOf(text, 'x'))).toEqual(catalog);
    for (const other of [
      '',
      '{}',
      '{"anyOf":[{}]}',
      '{"anyOf":[{"properties":{"event_type":{},"metadata_version":{},"event_context":{}}}]}',
    ])
      expect(() => definitionsOf(other, 'events.json')).toThrow(
        'events.json is not what `catalog --json-schema` prints',
      );
  });

  test('the AsyncAPI document has a message for each version, and each reference leads somewhere', () => {
    const document = asyncApiDocument(catalog, 'events');
    expect(document).toMatchObject({
      asyncapi: '3.0.0',
      channels: { events: { address: 'events' } },
      components: {
        messages: {
          'order_placed.v1': { name: 'order.placed', summary: 'It was placed' },
          'order_placed.v2': { payload: { schema: { type: 'object' } } },
        },
      },
    });
    for (const [, path] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]*)"/g))
      expect(path!.split('/').reduce<unknown>((at, key) => Reflect.get(at as object, key), document)).toBeTypeOf(
        'object',
      );
  });

  test('the page has a table of each view', () => {
    const page = markdownPage(catalog);
    expect(page).toContain('## order_placed\n\nIt was placed. Events of the type `order.placed`, versions 1, 2.');
    expect(page).toContain('| `id` | `Nullable(String)` | An \\| id. event_context.id, optional |');
  });
});
