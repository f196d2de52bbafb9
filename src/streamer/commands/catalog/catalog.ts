import { columnsOf, type Column } from './columns.ts';
import type { Definition } from './definitions.ts';
import type { JsonSchema } from './json-schema.ts';
import { Names, snakeCase } from './names.ts';
import { eitherOf, shapeOf } from './shape.ts';

/** An event type: all of its versions as one. */
export interface CatalogType {
  readonly type: string;
  /** The name of its view. */
  readonly view: string;
  readonly versions: readonly string[];
  /** By version; undefined where types alone define it. */
  readonly schemas: readonly (JsonSchema | undefined)[];
  readonly description: string | undefined;
  readonly columns: readonly Column[];
  readonly notes: readonly string[];
}

/** Folds the versions of each type together, and names views and columns. @param definitions in order, as loadDefinitions gives them */
export function catalogOf(definitions: readonly Definition[]): CatalogType[] {
  const names = new Names();
  const types = Map.groupBy(definitions, ({ type }) => type);
  return [...types].map(([type, versions]) => {
    const schemas = versions.map(({ schema }) => schema);
    const shapes = schemas.filter((schema) => schema !== undefined).map(shapeOf);
    const wanted = snakeCase(type);
    const view = names.take(wanted);
    const { columns, notes } =
      shapes.length === 0
        ? {
            columns: [],
            notes: [
              'its view has no field of the context: types alone define it, or its schema’s library tells no JSON Schema',
            ],
          }
        : columnsOf(shapes.reduce(eitherOf));
    return {
      type,
      view,
      versions: versions.map(({ version }) => version),
      schemas,
      description: shapes.at(-1)?.description,
      columns: shapes.length === schemas.length ? columns : columns.map((column) => ({ ...column, isRequired: false })),
      notes: view === wanted ? notes : [`its view is ${view}, because ${wanted} is taken`, ...notes],
    };
  });
}

/** `version 1`, or `versions 1, 2`. */
export function versionsOf({ versions }: Pick<CatalogType, 'versions'>): string {
  return `${versions.length === 1 ? 'version' : 'versions'} ${versions.join(', ')}`;
}
