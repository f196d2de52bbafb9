import { createHash } from 'node:crypto';
import { sqlOf, type Condition } from '../clickhouse/retention-policy.ts';

/** Whose events: those that have one of the values of each list that is not empty. At least one list must not be. */
export interface Filter {
  readonly subjects: readonly string[];
  readonly ids: readonly string[];
  readonly types: readonly string[];
  readonly environments: readonly string[];
}

/** A condition, and the values of its parameters. */
export interface OutboxCondition {
  readonly sql: string;
  readonly values: unknown[];
}

/** Rows of outbox.event and outbox.quarantine that a filter fits. */
export function inOutbox({ subjects, ids, types, environments }: Filter): OutboxCondition {
  const lists: readonly (readonly [column: string, type: string, values: readonly string[]])[] = [
    ['subject', 'text', subjects],
    ['event_id', 'uuid', ids],
    ['event_type', 'text', types],
    ['environment', 'text', environments],
  ];
  const given = lists.filter(([, , values]) => values.length > 0);
  return {
    sql: given.map(([column, type], index) => `${column} = ANY ($${index + 1}::${type}[])`).join(' AND '),
    values: given.map(([, , values]) => values),
  };
}

/** Rows of ClickHouse's table that it fits; its parameters are those of `parametersOf`. */
export function inTable({ subjects, ids, types, environments }: Filter): string {
  return [
    ...(subjects.length > 0 ? ['subject IN {subjects:Array(String)}'] : []),
    ...(ids.length > 0 ? ['event_id IN {ids:Array(UUID)}'] : []),
    ...(types.length > 0 ? ['toString(event_type) IN {types:Array(String)}'] : []),
    ...(environments.length > 0 ? ['toString(environment) IN {environments:Array(String)}'] : []),
  ].join(' AND ');
}

export function parametersOf(filter: Filter): Record<string, readonly string[]> {
  return Object.fromEntries(Object.entries(filter).filter(([, values]) => (values as readonly string[]).length > 0));
}

/** By which an erasure is known again, without what it erases: SHA-256 of its id and the filter, in hex. */
export function digestOf(erasure: string, filter: Filter): string {
  const lists = [filter.subjects, filter.ids.map((id) => id.toLowerCase()), filter.types, filter.environments];
  const canonical = lists.map((values) => [...new Set(values)].toSorted());
  return createHash('sha256')
    .update(JSON.stringify([erasure, ...canonical]))
    .digest('hex');
}

/** Rows of outbox.event that one of these rules holds. @param from the number of the first parameter */
export function heldInOutbox(holds: readonly (readonly Condition[])[], from: number): OutboxCondition {
  const values: string[] = [];
  const rules = holds.map((conditions) =>
    conditions
      .map(({ column, value, isPrefix }) => {
        const parameter = `$${from - 1 + values.push(value)}::text`;
        return isPrefix ? `starts_with(${column}, ${parameter})` : `${column} = ${parameter}`;
      })
      .join(' AND '),
  );
  return { sql: `(${rules.map((rule) => `(${rule})`).join(' OR ')})`, values };
}

/** The same rows of ClickHouse's table. */
export function heldInTable(holds: readonly (readonly Condition[])[]): string {
  return `(${holds.map((conditions) => `(${conditions.map(sqlOf).join(' AND ')})`).join(' OR ')})`;
}
