import { catalogOf, type CatalogType } from './catalog.ts';
import { jsonSchemaOf } from './standard.ts';

/** Versions 1, 2 … of one type. */
export function typeOf(...schemas: unknown[]): CatalogType {
  const definitions = schemas.map((schema, index) => ({
    type: 'order.placed',
    version: String(index + 1),
    schema: schema === undefined ? undefined : jsonSchemaOf(schema),
  }));
  return catalogOf(definitions)[0]!;
}
