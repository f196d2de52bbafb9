-- One row a manifest: what the events of an hour were while Postgres, the witness, still had them. Written by the streamer alone, and
-- never changed: events that come late make a further part. docs/auditors.md tells what each column is, and how to check it.
CREATE TABLE IF NOT EXISTS {table:Identifier}
(
    source LowCardinality(String),
    -- its place in the chain of the source: 1, 2, 3 …
    number UInt64,
    -- of recorded_at
    hour DateTime('UTC'),
    part UInt32,
    events UInt64,
    first_lsn UInt64,
    last_lsn UInt64,
    last_delivered_at DateTime64(6, 'UTC'),
    witnessed String,
    delivered String,
    added Array(String),
    absent Array(String),
    made_at DateTime64(6, 'UTC'),
    previous String,
    key_id LowCardinality(String),
    hash String,
    signature String
)
ENGINE = MergeTree
ORDER BY (source, number)
SETTINGS
    -- the same insert, repeated after a crash, is dropped by its token
    non_replicated_deduplication_window = 10000,
    -- the chain must survive a power cut
    fsync_after_insert = 1,
    fsync_part_directory = 1
