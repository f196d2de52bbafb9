import type { Definition } from './define.ts';
import { isPromise, kindOf, pathOf, type Problems, thrownName } from './problems.ts';
import { snapshotOf } from './snapshot.ts';
import type { SchemaIssue, SchemaResult, StandardSchema } from './standard-schema.ts';

/**
 * The field in which each library keeps its own code of an issue: `invalid_type`, `min_length`, `pattern`. A problem tells
 * this code and nothing else of an issue. Its message, and what it expected or received, can quote the context.
 */
const CODES: Readonly<Record<string, 'code' | 'type'>> = { zod: 'code', valibot: 'type', arktype: 'code' };

/**
 * Runs the schema of a definition over a copy of a context. Every fault becomes a problem, also when the schema throws or
 * answers asynchronously.
 *
 * @param maxValues as `snapshotOf` has it
 * @returns the schema's output, or the context itself when there is no schema; undefined when a problem was added
 */
export function validated(
  { type, schema }: Definition,
  context: unknown,
  path: string,
  maxValues: number,
  problems: Problems,
): unknown {
  if (schema === undefined) return context;
  const before = problems.count;
  const value = snapshotOf(context, path, maxValues, problems);
  if (problems.count > before) return undefined;
  try {
    const result: unknown = schema['~standard'].validate(value);
    if (!isPromise(result)) return read(result, schema, value, path, problems);
    // Nobody waits for this promise, so its rejection must not end the process.
    Promise.resolve(result).catch(() => undefined);
    problems.add(
      path,
      `cannot be validated: the schema of ${JSON.stringify(type.slice(0, 64))} answers asynchronously, and only synchronous schemas are supported. Validate before, then emit the result without this schema`,
    );
  } catch (error) {
    problems.add(path, `cannot be validated: the validator threw ${thrownName(error)}`);
  }
  return undefined;
}

function read(result: unknown, schema: StandardSchema, value: unknown, path: string, problems: Problems): unknown {
  if (typeof result !== 'object' || result === null) {
    problems.add(path, `cannot be validated: the validator gave ${kindOf(result)}`);
    return undefined;
  }
  const answer = result as SchemaResult<unknown>;
  if (answer.issues === undefined) return answer.value;
  const { vendor } = schema['~standard'];
  for (const issue of answer.issues)
    problems.add(
      () => keysOf(issue).reduce(pathOf, path),
      () => faultOf(issue, vendor, value),
    );
  // The specification does not allow an empty list. It is no permission either.
  if (answer.issues.length === 0) problems.add(path, 'is refused by the schema');
  return undefined;
}

/** A Map can have any value as a key, so only the kind of such a key is told. */
function keysOf(issue: SchemaIssue): (string | number)[] {
  return segmentsOf(issue).map((key) => (typeof key === 'string' || typeof key === 'number' ? key : kindOf(key)));
}

function segmentsOf({ path = [] }: SchemaIssue): unknown[] {
  return Array.from(path, (segment: unknown) =>
    typeof segment === 'object' && segment !== null && 'key' in segment ? segment.key : segment,
  );
}

function faultOf(issue: SchemaIssue, vendor: string, value: unknown): string {
  const at = segmentsOf(issue).reduce(
    (holder, key) =>
      typeof holder === 'object' && holder !== null ? (Reflect.get(holder, key as PropertyKey) as unknown) : undefined,
    value,
  );
  const is = at === undefined ? 'is missing, or' : `is ${kindOf(at)},`;
  const code = codeOf(issue, vendor);
  return `${is} refused by the schema${code === undefined ? '' : ` (${code})`}`;
}

function codeOf(issue: SchemaIssue, vendor: string): string | undefined {
  const field = CODES[vendor];
  const code: unknown = field === undefined ? undefined : Reflect.get(issue, field);
  return typeof code === 'string' && /^\w{1,32}$/.test(code) ? `${vendor}: ${code}` : undefined;
}
