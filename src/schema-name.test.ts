import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ERRORS, OutboxError, saidFor } from './errors.ts';
import { inSchema, SCHEMA_PATTERN, toldOf } from './schema-name.ts';

test.each(['outbox', 'billing', '_b', 'b2_of_3', 'orders_outbox', 'b'.repeat(54)])(
  '%s may be an outbox’s schema',
  (name) => {
    expect(name).toMatch(SCHEMA_PATTERN);
  },
);

test.each([
  '',
  'Billing',
  '2b',
  'b-c',
  'b c',
  'b"',
  "b'",
  'pg_b',
  'information_schema',
  'b_1_of_2',
  'b'.repeat(55),
  'b\n',
])('%j may not be an outbox’s schema', (name) => {
  expect(name).not.toMatch(SCHEMA_PATTERN);
});

test('inSchema changes the schema and what is called like it, and nothing else', () => {
  const sql = `SELECT set_config('application_name', 'pg-outbox-clickhouse outbox_1_of_2', false), to_regclass('outbox.event')
    FROM outbox.stream, "outbox"."event_00", "x"."an outbox ""table""", x.outbox -- outbox of the server's
    WHERE nspname = 'outbox' AND replace(outbox$x, '"', '""') <> 'it''s' AND pubname ~ '^outbox(_[0-9]+)?$'`;
  expect(inSchema('billing', sql))
    .toBe(`SELECT set_config('application_name', 'pg-outbox-clickhouse outbox_1_of_2', false), to_regclass('billing.event')
    FROM billing.stream, "outbox"."event_00", "x"."an outbox ""table""", x.outbox -- outbox of the server's
    WHERE nspname = 'billing' AND replace(outbox$x, '"', '""') <> 'it''s' AND pubname ~ '^billing(_[0-9]+)?$'`);
  expect(inSchema('outbox', sql)).toBe(sql);
});

test('no statement has a literal in which inSchema could find a name that is not this program’s', () => {
  const root = new URL('streamer/', import.meta.url);
  const texts = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !/\b(?:clickhouse|managed)/.test(path))
    .map((path) => readFileSync(new URL(path, root), 'utf8'));
  const literals = texts.flatMap((text) => text.match(/'\$\{[^'\n]*?\}'|\bescape(?:Literal|Identifier)\b/g) ?? []);
  expect(new Set(literals)).toEqual(
    new Set(
      'NAME PACKAGE_NAME name catalog setting publication snapshot at before beyond ids.text'
        .split(' ')
        .map((name) => `'\${${name}}'`),
    ),
  );
});

test('inSchema leaves nothing of the default schema in the migrations, once their quotes are gone', () => {
  const text = readFileSync(new URL('../migrations/postgres/0000_outbox.sql', import.meta.url), 'utf8');
  const statements = inSchema('billing', text.replaceAll('"outbox"', '"billing"').replaceAll(/^\s*--.*$/gm, ''));
  expect(statements).not.toContain('outbox');
  expect(statements).toContain('INSERT INTO billing.event');
});

test('the texts of errors name the tables, the schema and the publication of another outbox, and keep the word', () => {
  for (const { happened, next } of Object.values(ERRORS))
    for (const text of [happened, next]) {
      const told = toldOf('billing', text);
      expect(told).not.toMatch(/(?<![\w-])outbox\.\w|(?:schema|SCHEMA|PUBLICATION) outbox\b|"outbox"/);
      expect(told.replaceAll('billing', 'outbox')).toBe(text);
      expect(toldOf('outbox', text)).toBe(text);
    }
  expect(toldOf('billing', 'The outbox is in outbox.event; run `pg-outbox-clickhouse migrate`')).toBe(
    'The outbox is in billing.event; run `pg-outbox-clickhouse migrate`',
  );
});

test('saidFor leaves what an error says of this moment as it is', () => {
  const detail = 'the publication "billing" publishes outbox.event';
  expect(saidFor('billing', new OutboxError('OUTBOX_PUBLICATION_FOREIGN', { detail })).message).toBe(detail);
  const { message } = saidFor('billing', new OutboxError('OUTBOX_DETACHED', { problems: ['outbox.event'] }));
  expect(message).toContain('billing.event');
  expect(message).toContain('  - outbox.event');
});
