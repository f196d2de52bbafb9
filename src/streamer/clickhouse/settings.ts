export type Settings = Readonly<Record<string, string | number>>;

/** What a profile may have that drops rows without an error: of a SELECT, and of what the views on a table make of an insert. */
const WHOLE: Settings = {
  limit: '0',
  offset: '0',
  max_result_rows: '0',
  max_result_bytes: '0',
  result_overflow_mode: 'throw',
  read_overflow_mode: 'throw',
  read_overflow_mode_leaf: 'throw',
  group_by_overflow_mode: 'throw',
  sort_overflow_mode: 'throw',
  distinct_overflow_mode: 'throw',
  join_overflow_mode: 'throw',
  set_overflow_mode: 'throw',
  timeout_overflow_mode: 'throw',
  transfer_overflow_mode: 'throw',
  additional_table_filters: '{}',
  additional_result_filter: '',
  use_query_cache: 0,
  // an aggregate over nothing is a row
  empty_result_for_aggregation_by_empty_set: 0,
};

/**
 * What decides how rows become blocks, and whether repetitions are recognised, is sent with every insert: defaults changed
 * between versions of ClickHouse, and a user's profile may have its own.
 */
export const INSERT_SETTINGS: Settings = {
  ...WHOLE,
  async_insert: 0,
  // what is written with a quorum is looked for otherwise: a profile must not ask for one unseen
  insert_quorum: '0',
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  materialized_views_ignore_errors: 0,
  // a replica that loses Keeper in the middle of a commit says so, and keeps the part (ClickHouse#112149)
  insert_keeper_max_retries: 0,
  max_insert_block_size: '1048449',
  min_insert_block_size_rows: '1048449',
  min_insert_block_size_bytes: '268402944',
  // what a view makes of an insert is cut into blocks by these
  max_block_size: '65409',
  max_joined_block_size_rows: '65409',
  min_insert_block_size_rows_for_materialized_views: '0',
  min_insert_block_size_bytes_for_materialized_views: '0',
  input_format_try_infer_dates: 0,
  input_format_try_infer_datetimes: 0,
  // times as texts name their zone; a column may have another
  date_time_input_format: 'best_effort',
  // the status line waits for the end, so an exception is an HTTP error and not a body behind a 200
  wait_end_of_query: 1,
};

/** How long a server may take for an insert, and may wait for its rows. */
export function timeLimits(timeoutMs: number): Settings {
  const seconds = Math.ceil(timeoutMs / 1000);
  return { max_execution_time: seconds, http_receive_timeout: seconds };
}

/** How many replicas must have an insert before it counts as delivered. */
export interface Quorum {
  /** A number, or `auto` for the majority. */
  readonly size: string;
  /** By which the replicas are asked. */
  readonly cluster: string;
}

/** How inserts are sent, beside their settings. */
export interface Inserting {
  readonly quorum?: Quorum | undefined;
  readonly compression?: 'off' | 'zstd';
}

export function insertingOf({
  insertQuorum: size,
  clickhouseCluster: cluster,
  clickhouseCompression: compression,
}: {
  readonly insertQuorum: string;
  readonly clickhouseCluster: string;
  readonly clickhouseCompression: 'off' | 'zstd';
}): Inserting {
  return { quorum: size === 'off' ? undefined : { size, cluster }, compression };
}

/** How long an insert waits for its quorum, before it is repeated. */
const QUORUM_TIMEOUT_MS = 10_000;

/** Of an insert that counts once so many replicas have it: inserts of several streamers do not wait for one another. */
export function quorumSettings({ size }: Quorum, timeoutMs: number): Settings {
  return {
    insert_quorum: size,
    insert_quorum_timeout: String(Math.min(timeoutMs, QUORUM_TIMEOUT_MS)),
    insert_quorum_parallel: 1,
  };
}

/** The same, for settings that only newer servers know; an older one would refuse the insert. */
export const NEWER_INSERT_SETTINGS: Settings = {
  // overrides insert_deduplicate where it exists
  deduplicate_insert: 'enable',
  use_strict_insert_block_limits: '0',
  max_insert_block_size_bytes: '0',
  // another value may stand for older defaults of all that is not sent
  compatibility: '',
  // texts go into LowCardinality columns
  input_format_native_allow_types_conversion: 1,
  // the types of our block are written as texts
  input_format_native_decode_types_in_binary_format: 0,
};

/**
 * What a profile may have that shortens an answer, or changes it, without an error: whatever is believed of a SELECT is asked with
 * these.
 */
export const SELECT_SETTINGS: Settings = {
  ...WHOLE,
  final: 0,
  apply_deleted_mask: 1,
  extremes: 0,
  join_use_nulls: 0,
  transform_null_in: 0,
  data_type_default_nullable: 0,
  // a question that reads the table without one of these would be refused
  force_primary_key: 0,
  force_index_by_date: 0,
  force_optimize_projection: 0,
  force_optimize_projection_name: '',
  // a tuple is an array in JSON, and no object
  enable_named_columns_in_function_tuple: 0,
  aggregate_functions_null_for_empty: 0,
  output_format_json_array_of_rows: 0,
  // an exception in the middle of an answer is no row of it
  http_write_exception_in_output_format: 0,
  date_time_output_format: 'simple',
};

/** What one question of a person may take from the server. */
export interface Limits {
  readonly seconds: number;
  readonly memoryBytes: number;
  /** Rows that may be read, as the server estimates before it reads. */
  readonly rowsRead: number;
  readonly threads: number;
}

/** For a question that ends when it asks for too much, and when nobody waits for it any more. */
export function limited({ seconds, memoryBytes, rowsRead, threads }: Limits): Settings {
  return {
    ...SELECT_SETTINGS,
    max_execution_time: seconds,
    max_memory_usage: String(memoryBytes),
    max_rows_to_read: String(rowsRead),
    max_threads: threads,
    cancel_http_readonly_queries_on_client_close: 1,
    // that setting counts only where nothing may be written
    readonly: '2',
  };
}

/** Of long SELECTs: their memory in the server is bounded, and the socket is not silent while they work. */
export const STREAM_SETTINGS: Settings = {
  ...SELECT_SETTINGS,
  max_execution_time: 0,
  max_query_size: '67108864',
  max_bytes_before_external_sort: '268435456',
  max_bytes_before_external_group_by: '268435456',
  send_progress_in_http_headers: 1,
  http_headers_progress_interval_ms: '60000',
  cancel_http_readonly_queries_on_client_close: 1,
};
