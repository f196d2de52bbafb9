/** The columns of outbox.event that the publication sends, in the order of `Tuple`'s slots. */
export const EVENT_COLUMNS = [
  { name: 'event_id', type: 'uuid', oid: 2950 },
  { name: 'event_type', type: 'text', oid: 25 },
  { name: 'event_date_time', type: 'timestamptz', oid: 1184 },
  { name: 'environment', type: 'text', oid: 25 },
  { name: 'event_context', type: 'json', oid: 114 },
  { name: 'metadata_version', type: 'bigint', oid: 20 },
  { name: 'subject', type: 'text', oid: 25 },
  { name: 'traceparent', type: 'text', oid: 25 },
  { name: 'recorded_at', type: 'timestamptz', oid: 1184 },
  { name: 'recorded_by', type: 'text', oid: 25 },
] as const;

/** Slots of a `Tuple`. */
export const Field = {
  eventId: 0,
  eventType: 1,
  eventDateTime: 2,
  environment: 3,
  eventContext: 4,
  metadataVersion: 5,
  subject: 6,
  traceparent: 7,
  recordedAt: 8,
  recordedBy: 9,
} as const;

/** Bytes of a value of each column; 0 for one of any length. */
export const FIXED_BYTES: readonly number[] = EVENT_COLUMNS.map(({ oid }) =>
  oid === 2950 ? 16 : oid === 1184 || oid === 20 ? 8 : 0,
);

/** A row's values in Postgres' binary form. */
export type EventValues = Readonly<Record<(typeof EVENT_COLUMNS)[number]['name'], Buffer | null>>;

/** Where the values of one row lie in the message's buffer. Reused for every row; a start of −1 is NULL, which traceparent alone may be. */
export interface Tuple {
  readonly start: Int32Array;
  readonly end: Int32Array;
}
