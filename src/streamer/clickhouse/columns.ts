/** The columns of an INSERT, in the order in which batch/native.ts sends them. */
export const INSERT_COLUMNS = [
  'event_type',
  'event_date_time',
  'environment',
  'event_context_text',
  'metadata_version',
  'subject',
  'event_id',
  'source',
  'lsn',
  'seq',
  'committed_at',
  'delivered_at',
  'trace_id',
  'span_id',
  'recorded_by',
  'origin',
] as const;
