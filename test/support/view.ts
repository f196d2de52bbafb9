/** A materialized view that counts the events of each type, and its target, which remembers tokens. */
export const COUNTING_VIEW: readonly string[] = [
  `CREATE TABLE counts (event_type String, n UInt64) ENGINE = SummingMergeTree ORDER BY event_type
   SETTINGS non_replicated_deduplication_window = 10000`,
  'CREATE MATERIALIZED VIEW counter TO counts AS SELECT event_type, count() AS n FROM events GROUP BY event_type',
];
