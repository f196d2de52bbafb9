/**
 * The part of https://standardschema.dev, version 1, that is used here. zod, valibot, arktype and others implement it.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    /** The types of most schemas allow a promise. `emitEvent` rejects one at run time. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Only the type checker sees this. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

type Types<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>;

/** The type that a schema takes. */
export type SchemaInput<Schema extends StandardSchema> = Types<Schema>['input'];

/** The type that a schema gives. */
export type SchemaOutput<Schema extends StandardSchema> = Types<Schema>['output'];
