import { inspect } from 'node:util';

/**
 * A parameter that only the driver can read.
 *
 * Query loggers, tracing and error messages print parameters: drizzle does with `logger: true`, and in its "Failed query: …
 * params: …". They use JSON.stringify, String() or util.inspect, and get the label. node-postgres calls `toPostgres`, and
 * gets the value. OpenTelemetry's instrumentation of pg calls it too with `enhancedDatabaseReporting`: docs/clients.md
 * warns about that.
 */
export class Hidden {
  readonly #text: string;
  readonly #label: string;

  constructor(text: string, label: string) {
    this.#text = text;
    this.#label = `[${label}]`;
  }

  /** The hook of node-postgres for custom types: it sends what this returns. */
  toPostgres(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#label;
  }

  toString(): string {
    return this.#label;
  }

  [inspect.custom](): string {
    return this.#label;
  }
}
