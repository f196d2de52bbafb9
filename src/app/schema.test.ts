import { SQL } from 'drizzle-orm';
import { getTableConfig, PgDialect, type PgTable } from 'drizzle-orm/pg-core';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { event, quarantine, stream } from './schema.ts';

const MIGRATION = ['0000_outbox', '0001_quarantine', '0003_detach']
  .map((name) => readFileSync(new URL(`../../migrations/postgres/${name}.sql`, import.meta.url), 'utf8'))
  .join('\n');

/** A table's columns, written as in the migration. */
function columnsOf(table: PgTable): string[] {
  return getTableConfig(table).columns.map((column) => {
    const parts = [`"${column.name}"`, quotedType(column.getSQLType())];
    if (column.primary) parts.push('PRIMARY KEY');
    if (column.generatedIdentity !== undefined) parts.push('GENERATED ALWAYS AS IDENTITY');
    if (column.default !== undefined) parts.push('DEFAULT', literal(column.default));
    if (column.notNull && column.generatedIdentity === undefined) parts.push('NOT NULL');
    return parts.join(' ');
  });
}

function quotedType(type: string): string {
  return type === 'pg_lsn' ? '"pg_lsn"' : type;
}

function literal(value: unknown): string {
  if (value instanceof SQL) return new PgDialect().sqlToQuery(value).sql;
  return typeof value === 'number' ? String(value) : `'${String(value)}'`;
}

/** The columns in a CREATE TABLE of the migrations, and those that were added later. */
function migrated(table: string): string[] {
  const body = new RegExp(String.raw`CREATE TABLE "outbox"\."${table}" \(\n([\s\S]*?)\n\)`).exec(MIGRATION)?.[1] ?? '';
  return body
    .split('\n')
    .map((line) => line.trim().replace(/,$/, ''))
    .filter((line) => !line.startsWith('CONSTRAINT'))
    .concat(
      [...MIGRATION.matchAll(new RegExp(String.raw`ALTER TABLE "outbox"\."${table}" ADD COLUMN (.*);`, 'g'))].map(
        ([, column]) => (MIGRATION.includes(notNull(table, column!)) ? `${column!} NOT NULL` : column!),
      ),
    );
}

function notNull(table: string, column: string): string {
  return `ALTER TABLE "outbox"."${table}" ALTER COLUMN ${column.split(' ', 1)[0]} SET NOT NULL`;
}

test('the drizzle schema has the columns of the migration, in the same order', () => {
  expect(columnsOf(event)).toEqual(migrated('event'));
  expect(columnsOf(stream)).toEqual(migrated('stream'));
  expect(columnsOf(quarantine)).toEqual(migrated('quarantine'));
});

test('the drizzle schema has the check constraint of the migration', () => {
  for (const { name, value } of getTableConfig(stream).checks) {
    expect(MIGRATION).toContain(`CONSTRAINT "${name}" CHECK (${literal(value)})`);
  }
});
