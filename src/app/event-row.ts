/** An event that is known to be storable: every value has the form in which it is sent. */
export interface EventRow {
  /** Canonical, in lower case: as Postgres will show it. */
  readonly id: string;
  readonly type: string;
  /** ISO 8601 in UTC, so that neither the client's nor the session's time zone matters. */
  readonly time: string;
  readonly environment: string;
  /** JSON text. */
  readonly context: string;
  readonly metadataVersion: number | bigint;
  readonly subject: string;
  /** The size of `context` in UTF-8. */
  readonly bytes: number;
}
