import { inspect } from 'node:util';

/**
 * A parameter that only the driver can read.
 *
 * Query loggers, tracing and error messages print parameters: drizzle's `logger: true` and its "Failed query: … params:
 * …" do. Through JSON.stringify, String() and util.inspect they get the label; node-postgres asks `toPostgres`. So
 * does OpenTelemetry's instrumentation of it, for a span, with `enhancedDatabaseReporting`: docs/clients.md warns of it.
 */
export class Hidden {
  readonly #text: string;
  readonly #label: string;

  constructor(text: string, label: string) {
    this.#text = text;
    this.#label = `[${label}]`;
  }

  /** The hook of node-postgres for custom types: what goes over the wire. */
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
