import { isPromise, kindOf, pathOf, type Problems, thrownName } from './problems.ts';
import { snapshotOf } from './snapshot.ts';
import type { SchemaIssue, SchemaResult, StandardSchema } from './standard-schema.ts';

/** What a schema made of a context: this is what is stored. */
export interface Validated {
  readonly output: unknown;
}

/**
 * Where a library keeps what it says of an issue in a word of its own: `invalid_type`, `min_length`, `pattern`. Nothing else
 * of an issue is told: messages, and what was expected or received, can quote the context.
 */
const CODES: Readonly<Record<string, 'code' | 'type'>> = { zod: 'code', valibot: 'type', arktype: 'code' };

/**
 * Runs a schema over a copy of a context. Whatever is wrong becomes a problem, also a validator that throws, so that the
 * promise never rejects.
 *
 * @param maxValues as `snapshotOf` has it
 * @returns undefined when a problem was added; a promise when the validator gave one
 */
export function validated(
  schema: StandardSchema,
  context: unknown,
  path: string,
  maxValues: number,
  problems: Problems,
): Validated | undefined | Promise<Validated | undefined> {
  const snapshot = snapshotOf(context, path, maxValues, problems);
  if (snapshot === undefined) return undefined;
  const { value, shared } = snapshot;

  const threw = (error: unknown): undefined => {
    problems.add(path, `cannot be validated: the validator threw ${thrownName(error)}`);
  };
  const told = (result: unknown): Validated | undefined => read(result, schema, value, path, problems);
  try {
    const result: unknown = schema['~standard'].validate(value);
    if (!isPromise(result)) return told(result);
    if (shared === undefined) return Promise.resolve(result).then(told).catch(threw);
    // Its answer, whatever it is, is about something that can have changed by then.
    Promise.resolve(result).catch(() => undefined);
    problems.add(
      shared.path,
      `is an instance of ${shared.className}, which could change while an asynchronous validator runs: pass plain data`,
    );
    return undefined;
  } catch (error) {
    return threw(error);
  }
}

function read(
  result: unknown,
  schema: StandardSchema,
  value: unknown,
  path: string,
  problems: Problems,
): Validated | undefined {
  if (typeof result !== 'object' || result === null) {
    problems.add(path, `cannot be validated: the validator gave ${kindOf(result)}`);
    return undefined;
  }
  const answer = result as SchemaResult<unknown>;
  if (answer.issues === undefined) return { output: answer.value };
  for (const issue of answer.issues) tell(issue, schema['~standard'].vendor, value, path, problems);
  // A list of issues without any is not an answer of the specification, and no permission either.
  if (answer.issues.length === 0) problems.add(path, 'is refused by the schema');
  return undefined;
}

function tell(issue: SchemaIssue, vendor: string, value: unknown, path: string, problems: Problems): void {
  let [at, where] = [value, path];
  for (const segment of issue.path ?? []) {
    const key: unknown = typeof segment === 'object' && segment !== null ? segment.key : segment;
    at = typeof at === 'object' && at !== null ? (Reflect.get(at, key as PropertyKey) as unknown) : undefined;
    // A Map has keys of any kind; what they are is not told.
    where = pathOf(where, typeof key === 'string' || typeof key === 'number' ? key : kindOf(key));
  }
  const is = at === undefined ? 'is missing, or' : `is ${kindOf(at)},`;
  const code = codeOf(issue, vendor);
  problems.add(where, `${is} refused by the schema${code === undefined ? '' : ` (${code})`}`);
}

function codeOf(issue: SchemaIssue, vendor: string): string | undefined {
  const field = CODES[vendor];
  const code: unknown = field === undefined ? undefined : Reflect.get(issue, field);
  return typeof code === 'string' && /^\w{1,32}$/.test(code) ? `${vendor}: ${code}` : undefined;
}
