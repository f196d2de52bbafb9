-- One row an event. The first five columns are what analysts ask for; the others make the row trustworthy.
-- event_context_text is the evidence, byte for byte; event_context is its index: typed by the table, and {} for what JSON refuses.
-- Arrays nested more than 10 deep are not typed either: of mixed values, each level of each path costs ClickHouse time, which grows
-- with the cube of the depth, and beyond 100 inserts and merges would fail for ever. Nor are long keys above many others: each path
-- holds all keys above it, and 80 kB could become 200 MB. Nor are more than 4096 keys: the memory of a merge grows with the paths of
-- the events in it. What is short, flat or of few keys is not looked through, which would cost almost half as much as the
-- typing, nor what has fewer than 10 brackets that open an array other than a key's or one beside the last: `],[` is no deeper.
CREATE TABLE IF NOT EXISTS {table:Identifier}
(
    event_type LowCardinality(String),
    event_date_time DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    environment LowCardinality(String),
    event_context JSON(max_dynamic_paths = 128) DEFAULT JSONExtract(
        if(
            arrayMax(arrayCumSum(arrayMap(
                bracket -> multiIf(bracket = '[', 1, bracket = ']', -1, 0),
                extractAll(
                    if(countSubstrings(event_context_text, '[')
                        - countSubstrings(event_context_text, '":[')
                        - countSubstrings(event_context_text, '": [')
                        - countSubstrings(event_context_text, '],[')
                        - countSubstrings(event_context_text, '], [') < 10, '', event_context_text),
                    '"(?:[^"\\\\]|\\\\.)*"|[\\[\\]]')))) <= 10
            AND arrayMap(
                tokens -> arrayCount(token -> endsWith(token, ':'), tokens)
                    * arrayMax(token -> if(endsWith(token, ':'), length(token), 0), tokens)
                    * arrayMax(arrayCumSum(token -> multiIf(token = '{', 1, token = '}', -1, 0), tokens)),
                [extractAll(
                    if(length(event_context_text) <= 8192
                        OR countSubstrings(event_context_text, ':') <= 64
                        OR countSubstrings(event_context_text, '{') = 1, '', event_context_text),
                    '"(?:[^"\\\\]|\\\\.)*"(?:\\s*:)?|[{}]')])[1] <= 64 * length(event_context_text)
            AND length(extractAll(
                if(countSubstrings(event_context_text, ':') <= 4096, '', event_context_text),
                '"(?:[^"\\\\]|\\\\.)*"\\s*:')) <= 4096,
            event_context_text,
            '{}'),
        'JSON(max_dynamic_paths = 128)') CODEC(ZSTD(1)),
    metadata_version UInt64,
    subject String CODEC(ZSTD(1)),
    event_id UUID,
    event_context_text String CODEC(ZSTD(1)),
    source LowCardinality(String),
    lsn UInt64 CODEC(Delta, ZSTD(1)),
    seq UInt32 CODEC(Delta, ZSTD(1)),
    committed_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    delivered_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    recorded_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    recorded_by LowCardinality(String),
    origin LowCardinality(String),
    INDEX by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_subject subject TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_lsn lsn TYPE minmax GRANULARITY 1,
    INDEX by_recorded_at recorded_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(committed_at)
ORDER BY (event_date_time, event_type)
SETTINGS
    -- the same insert, repeated after a crash, is dropped by its token as long as it is among the last so many blocks
    non_replicated_deduplication_window = 10000,
    -- a row that was acknowledged to Postgres must survive a power cut
    fsync_after_insert = 1,
    fsync_part_directory = 1,
    -- Wide parts have files for each JSON path, also of objects in arrays: the keys of a few kB of hostile events need more files than
    -- a server may open, merges would fail for ever, and in the end all inserts
    min_bytes_for_wide_part = 1000000000000000,
    -- with 'advanced', the default of newer servers, a merge of ten events of 2,000 keys of their own takes more than 6 GB
    object_shared_data_serialization_version = 'map_with_buckets'
