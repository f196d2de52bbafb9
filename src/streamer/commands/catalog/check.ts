import type { CatalogType } from './catalog.ts';
import type { Column } from './columns.ts';

/** What became of a catalogue. */
export interface Changes {
  /** Queries that worked before fail, or answer otherwise. */
  readonly breaking: readonly string[];
  /** What a reader may want to know. */
  readonly others: readonly string[];
}

/** Compares two catalogues, by the views that they make. */
export function changesBetween(before: readonly CatalogType[], now: readonly CatalogType[]): Changes {
  const breaking: string[] = [];
  const others: string[] = [];
  const byType = new Map(now.map((type) => [type.type, type]));
  for (const old of before) {
    const type = byType.get(old.type);
    const what = JSON.stringify(old.type);
    if (type === undefined)
      breaking.push(`${what} is not defined any more; its view ${old.view} stays until somebody drops it`);
    else if (type.view !== old.view) breaking.push(`${what} has the view ${type.view}, which was ${old.view}`);
    else compareColumns(old, type, { breaking, others });
  }
  const known = new Set(before.map(({ type }) => type));
  for (const { type, view } of now)
    if (!known.has(type)) others.push(`${JSON.stringify(type)} is new: the view ${view}`);
  return { breaking, others };
}

function compareColumns(
  before: CatalogType,
  now: CatalogType,
  { breaking, others }: { readonly breaking: string[]; readonly others: string[] },
): void {
  const found = new Map(now.columns.map((column) => [column.name, column]));
  for (const old of before.columns) {
    const name = `${now.view}.${old.name}`;
    const column = found.get(old.name);
    found.delete(old.name);
    if (column === undefined) breaking.push(`${name} is gone`);
    else if (JSON.stringify(column.path) !== JSON.stringify(old.path))
      breaking.push(`${name} is another field: ${column.path.join('.')}, which was ${old.path.join('.')}`);
    else if (column.type !== old.type) breaking.push(`${name} is ${column.type}, which was ${old.type}`);
    else if (column.reading.as !== old.reading.as)
      breaking.push(`${name} holds ${column.reading.as} values, which were ${old.reading.as}`);
    else others.push(...smallChanges(name, old, column));
  }
  for (const { name, type } of found.values()) others.push(`${now.view}.${name} is new: ${type}`);
}

function smallChanges(name: string, old: Column, now: Column): string[] {
  const values = (now.values ?? []).filter((value) => !(old.values ?? []).includes(value));
  return [
    ...(old.isRequired && !now.isRequired ? [`${name} is optional now: it may be NULL`] : []),
    ...(values.length > 0 ? [`${name} may be ${values.map((value) => JSON.stringify(value)).join(', ')}, too`] : []),
  ];
}
