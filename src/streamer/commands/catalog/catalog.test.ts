import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { schemaOf } from '../../../app/define.fixture.ts';
import { typeOf } from './catalog.fixture.ts';
import { catalogOf } from './catalog.ts';
import { commentOf } from './columns.ts';
import { expressionOf } from './expression.ts';
import { snakeCase } from './names.ts';

function columnsOf(...schemas: unknown[]): Record<string, string> {
  return Object.fromEntries(typeOf(...schemas).columns.map(({ name, type: is }) => [name, is]));
}

function optionalOf(...schemas: unknown[]): string[] {
  return typeOf(...schemas).columns.flatMap(({ name, isRequired }) => (isRequired ? [] : [name]));
}

const EXPECTED = {
  text: 'Nullable(String)',
  real: 'Nullable(Float64)',
  whole: 'Nullable(Int64)',
  flag: 'Nullable(Bool)',
  at: "Nullable(DateTime64(6, 'UTC'))",
  kind: 'LowCardinality(Nullable(String))',
  texts: 'Array(String)',
  nested_deep_x: 'Nullable(Float64)',
  either: 'Nullable(String)',
  maybe: 'Nullable(Float64)',
  nothing: 'Nullable(String)',
};

describe('columns of each library', () => {
  test.each([
    [
      'zod',
      z.object({
        text: z.string(),
        real: z.number(),
        whole: z.int(),
        flag: z.boolean(),
        at: z.date(),
        kind: z.enum(['a', 'b']),
        texts: z.array(z.string()),
        nested: z.object({ deep: z.object({ x: z.number() }) }),
        either: z.union([z.string(), z.number()]),
        maybe: z.number().optional(),
        nothing: z.string().nullable(),
      }),
    ],
    [
      'valibot',
      v.object({
        text: v.string(),
        real: v.number(),
        whole: v.pipe(v.string(), v.toNumber(), v.integer()),
        flag: v.boolean(),
        at: v.date(),
        kind: v.picklist(['a', 'b']),
        texts: v.array(v.string()),
        nested: v.object({ deep: v.object({ x: v.number() }) }),
        either: v.union([v.string(), v.number()]),
        maybe: v.optional(v.number()),
        nothing: v.nullable(v.string()),
      }),
    ],
    [
      'arktype',
      type({
        text: 'string',
        real: 'number',
        whole: 'number.integer',
        flag: 'boolean',
        at: 'Date',
        kind: "'a'|'b'",
        texts: 'string[]',
        nested: { deep: { x: 'number' } },
        either: 'string|number',
        'maybe?': 'number',
        nothing: 'string|null',
      }),
    ],
  ])('%s', (_, schema) => {
    expect(columnsOf(schema)).toEqual(EXPECTED);
    expect(optionalOf(schema).toSorted()).toEqual(['maybe', 'nothing']);
  });

  test('a schema is read by what it gives, and a default is there', () => {
    const zod = z.object({
      a: z.string().default('x'),
      b: z.string().transform(Number),
      c: z.string().transform(Number).pipe(z.number()),
    });
    const valibot = v.object({
      a: v.optional(v.string(), 'x'),
      b: v.pipe(v.string(), v.transform(Number)),
      c: v.pipe(v.string(), v.transform(Number), v.number()),
    });
    for (const schema of [zod, valibot]) {
      expect(columnsOf(schema)).toEqual({ a: 'Nullable(String)', b: 'Nullable(String)', c: 'Nullable(Float64)' });
      expect(optionalOf(schema)).toEqual([]);
      expect(typeOf(schema).columns.map(({ reading }) => reading.as)).toEqual(['string', 'json', 'number']);
    }
  });

  test('a schema that holds itself ends', () => {
    const tree = z.object({
      name: z.string(),
      get children() {
        return z.array(tree);
      },
    });
    interface Tree {
      name: string;
      children: Tree[];
    }
    const lazy: v.GenericSchema<Tree> = v.object({ name: v.string(), children: v.array(v.lazy(() => lazy)) });
    for (const schema of [tree, lazy, z.object({ root: tree })])
      expect(typeOf(schema).columns.at(-1)).toMatchObject({ type: 'Nullable(String)', reading: { as: 'json' } });
  });

  test('a validator without a JSON Schema, and types alone, have no fields', () => {
    for (const schema of [schemaOf(() => ({ value: {} })), undefined]) {
      const found = typeOf(schema);
      expect(found.columns).toEqual([]);
      expect(found.notes).toEqual([expect.stringContaining('no field of the context')]);
    }
  });
});

describe('types of columns', () => {
  test('a number is a Decimal only where the schema says how many places it has', () => {
    const schema = z.object({
      cents: z.number().multipleOf(0.01),
      steps: z.number().multipleOf(0.05),
      tens: z.number().multipleOf(10),
    });
    expect(columnsOf(schema)).toEqual({
      cents: 'Nullable(Decimal(18, 2))',
      steps: 'Nullable(Float64)',
      tens: 'Nullable(Float64)',
    });
  });

  test('dates are those of a format; arrays of mixed values, records and what is anything are JSON text', () => {
    const schema = z.object({
      at: z.iso.datetime(),
      on: z.iso.date(),
      items: z.array(z.object({ 'sku.code': z.string() })),
      mixed: z.array(z.union([z.string(), z.number()])),
      grid: z.array(z.array(z.number())),
      holes: z.array(z.number().nullable()),
      counts: z.record(z.string(), z.number()),
      any: z.unknown(),
      empty: z.object({}),
    });
    expect(columnsOf(schema)).toMatchObject({
      at: "Nullable(DateTime64(6, 'UTC'))",
      on: 'Nullable(Date32)',
      grid: 'Array(Array(Float64))',
      holes: 'Array(Nullable(Float64))',
    });
    const json = typeOf(schema)
      .columns.filter(({ reading }) => reading.as === 'json')
      .map(({ name }) => name);
    expect(json).toEqual(['items', 'mixed', 'counts', 'any', 'empty']);
  });

  test('an array of objects is one of tuples, in which everything may be NULL', () => {
    const item = z.object({
      sku: z.string(),
      price: z.number().multipleOf(0.01),
      tags: z.array(z.enum(['a'])),
      size: z.object({ width: z.number(), at: z.date() }).nullable(),
    });
    const { items } = columnsOf(z.object({ items: z.array(item) }));
    const size = 'Tuple(width Nullable(Float64), at Nullable(String))';
    expect(items).toBe(`Array(Tuple(sku Nullable(String), price Nullable(Float64), tags Array(String), size ${size}))`);
  });

  test('the branches of a union of objects are one object, and what only some have is optional', () => {
    const schema = z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('card'), last4: z.string() }),
      z.object({ kind: z.literal('cash'), last4: z.number() }),
    ]);
    const found = typeOf(schema);
    expect(found.columns).toMatchObject([
      { name: 'kind', type: 'LowCardinality(Nullable(String))', values: ['card', 'cash'], isRequired: true },
      { name: 'last4', type: 'Nullable(String)', reading: { as: 'text' }, isRequired: true },
    ]);
    expect(columnsOf(z.object({ a: z.string() }).and(z.object({ b: z.number() })))).toEqual({
      a: 'Nullable(String)',
      b: 'Nullable(Float64)',
    });
  });
});

describe('versions', () => {
  test('are one: integers become numbers, other types text, and what one lacks is optional', () => {
    const one = z.object({ n: z.int(), id: z.number(), gone: z.string(), kind: z.enum(['a']) });
    const two = z.object({ n: z.number(), id: z.string(), kind: z.enum(['b']), added: z.date() });
    expect(columnsOf(one, two)).toEqual({
      n: 'Nullable(Float64)',
      id: 'Nullable(String)',
      gone: 'Nullable(String)',
      kind: 'LowCardinality(Nullable(String))',
      added: "Nullable(DateTime64(6, 'UTC'))",
    });
    expect(optionalOf(one, two)).toEqual(['gone', 'added']);
    expect(typeOf(one, two).columns[3]?.values).toEqual(['a', 'b']);
    expect(optionalOf(one, undefined)).toEqual(['n', 'id', 'gone', 'kind']);
  });
});

describe('names', () => {
  test.each([
    ['order.placed', 'order_placed'],
    ['OrderPlaced', 'order_placed'],
    ['HTTPRequest-v2', 'http_request_v2'],
    ['2fa enabled!', '_2fa_enabled'],
    ['Größe', 'größe'],
    ['', '_'],
    ['--', '_'],
    ['é'.repeat(200), 'é'.repeat(25)],
  ])('%j is %s', (text, name) => {
    expect(snakeCase(text)).toBe(name);
  });

  test('clash with nothing: the less deep field has the plain name, and each clash is told', () => {
    const schema = z.object({
      a: z.object({ b: z.string() }),
      a_b: z.string(),
      subject: z.string(),
      context_subject: z.string(),
      aB: z.string(),
      '': z.string(),
    });
    const { columns, notes } = typeOf(schema);
    expect(columns.map(({ path, name }) => [path.join('.'), name])).toEqual([
      ['a.b', 'context_a_b_2'],
      ['a_b', 'a_b'],
      ['subject', 'context_subject'],
      ['context_subject', 'context_context_subject'],
      ['aB', 'context_a_b'],
    ]);
    expect(notes).toHaveLength(5);
  });

  test('of views clash with nothing, too', () => {
    const types = ['order.placed', 'order_placed'].map((name) => ({ type: name, version: '1', schema: undefined }));
    const catalog = catalogOf(types);
    expect(catalog.map(({ view }) => view)).toEqual(['order_placed', 'order_placed_2']);
    expect(catalog[1]!.notes[0]).toBe('its view is order_placed_2, because order_placed is taken');
  });
});

test('keys and values of others are quoted in expressions', () => {
  const key = "a`b'c\\d";
  const [column] = typeOf(z.object({ [key]: z.string() })).columns;
  expect(expressionOf(column!, 'JSON')).toBe("event_context.`a\\`b'c\\\\d`::Nullable(String)");
  expect(expressionOf(column!, 'event_context')).toBe(
    String.raw`JSONExtract(event_context, 'a` + '`' + String.raw`b\'c\\d', 'Nullable(String)')`,
  );
});

test('a comment has what the schema says of a field', () => {
  const schema = z.object({ status: z.enum(['open', 'paid']).describe('How far it is').optional() });
  expect(typeOf(schema).columns.map(commentOf)).toEqual([
    'How far it is. One of "open", "paid". event_context.status, optional',
  ]);
});
