import { SQL, sql } from 'drizzle-orm';
import { getTableConfig, PgDialect, type PgTable } from 'drizzle-orm/pg-core';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { erasure, event, manifest, outbox, outboxTables, quarantine, stream } from './schema.ts';

const MIGRATION = ['0000_outbox', '0001_manifest', '0002_erasure']
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
  return type.startsWith('pg_') ? `"${type}"` : type;
}

function literal(value: unknown): string {
  if (value instanceof SQL) return new PgDialect().sqlToQuery(value).sql;
  return typeof value === 'number' ? String(value) : `'${String(value)}'`;
}

/** The columns in a CREATE TABLE of the migration. */
function migrated(table: string): string[] {
  const body = new RegExp(String.raw`CREATE TABLE "outbox"\."${table}" \(\n([\s\S]*?)\n\)`).exec(MIGRATION)?.[1] ?? '';
  return body
    .split('\n')
    .map((line) => line.trim().replace(/,$/, ''))
    .filter((line) => !line.startsWith('CONSTRAINT'));
}

test('the drizzle schema has the columns of the migration, in the same order', () => {
  expect(columnsOf(event)).toEqual(migrated('event'));
  expect(columnsOf(stream)).toEqual(migrated('stream'));
  expect(columnsOf(quarantine)).toEqual(migrated('quarantine'));
  expect(columnsOf(manifest)).toEqual(migrated('manifest'));
  expect(columnsOf(erasure)).toEqual(migrated('erasure'));
});

test('the drizzle schema has the check constraint of the migration', () => {
  for (const { name, value } of getTableConfig(stream).checks) {
    expect(MIGRATION).toContain(`CONSTRAINT "${name}" CHECK (${literal(value)})`);
  }
});

test('outboxTables makes the same tables in another schema', () => {
  const tables = outboxTables('billing');
  const sqlOf = (table: PgTable): string => new PgDialect().sqlToQuery(sql`SELECT FROM ${table}`).sql;
  expect(outbox.schemaName).toBe('outbox');
  expect(tables.outbox.schemaName).toBe('billing');
  for (const [name, table] of Object.entries({ event, stream, quarantine, manifest, erasure })) {
    const other = tables[name as 'event' | 'stream' | 'quarantine' | 'manifest' | 'erasure'];
    expect(sqlOf(table)).toBe(`SELECT FROM "outbox"."${name}"`);
    expect(sqlOf(other)).toBe(`SELECT FROM "billing"."${name}"`);
    expect(columnsOf(other)).toEqual(columnsOf(table));
  }
});
