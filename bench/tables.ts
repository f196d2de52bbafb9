/** The table as `migrate` makes it, and what else it could be. */
export interface Candidate {
  readonly name: string;
  readonly edit: (ddl: string) => string;
}

const JSON_TYPE = 'JSON(max_dynamic_paths = 128)';
const KNOWN_PATHS = 'orderId Int64, customer String, amount Float64';

export const CANDIDATES: readonly Candidate[] = [
  { name: 'shipped', edit: (ddl) => ddl },
  { name: 'text only', edit: without },
  {
    name: 'typed when read (ALIAS)',
    edit: (ddl) => uncoded('event_context')(ddl).replace('DEFAULT JSONExtract(', 'ALIAS JSONExtract('),
  },
  {
    name: 'no guard against deep arrays',
    edit: (ddl) => ddl.replace(/JSONExtract\(\s+if\([^]*?'\{\}'\)/, 'JSONExtract(event_context_text'),
  },
  { name: 'max_dynamic_paths 1024', edit: paths(1024) },
  { name: 'max_dynamic_paths 64', edit: paths(64) },
  { name: 'max_dynamic_paths 16', edit: paths(16) },
  { name: 'max_dynamic_paths 0', edit: paths(0) },
  {
    name: 'three paths named',
    edit: (ddl) => ddl.replaceAll(JSON_TYPE, `JSON(max_dynamic_paths = 128, ${KNOWN_PATHS})`),
  },
  {
    name: 'three paths named, max_dynamic_paths 0',
    edit: (ddl) => ddl.replaceAll(JSON_TYPE, `JSON(max_dynamic_paths = 0, ${KNOWN_PATHS})`),
  },
  { name: 'wide parts from 10 MiB', edit: (ddl) => ddl.replace('134217728', '10485760') },
  { name: 'wide parts from 1 GiB', edit: (ddl) => ddl.replace('134217728', '1073741824') },
  {
    name: 'shared data as map',
    edit: setting("object_shared_data_serialization_version_for_zero_level_parts = 'map'"),
  },
  {
    name: 'shared data advanced at once',
    edit: setting("object_shared_data_serialization_version_for_zero_level_parts = 'advanced'"),
  },
  {
    name: 'shared data as map, merged too',
    edit: setting(
      "object_shared_data_serialization_version = 'map', object_shared_data_serialization_version_for_zero_level_parts = 'map'",
    ),
  },
  { name: 'one bucket in compact parts', edit: setting('object_shared_data_buckets_for_compact_part = 1') },
  { name: 'no marks of substreams', edit: setting('write_marks_for_substreams_in_compact_parts = 0') },
  { name: 'columns of a granule in one block', edit: setting('compress_per_column_in_compact_parts = 0') },
  { name: 'no adaptive buffers', edit: setting('use_adaptive_write_buffer_for_dynamic_subcolumns = 0') },
  { name: 'merged into 32 paths', edit: setting('merge_max_dynamic_subcolumns_in_wide_part = 32') },
  { name: 'v1 strings', edit: setting("string_serialization_version = 'single_stream'") },
  { name: 'codec: LZ4 but for text and positions', edit: uncoded('event_context', 'trace_id', 'span_id') },
  { name: 'codec: JSON LZ4', edit: uncoded('event_context') },
  { name: 'codec: traces LZ4', edit: uncoded('trace_id', 'span_id') },
  { name: 'codec: times of events LZ4', edit: uncoded('event_date_time') },
  { name: 'codec: text LZ4', edit: uncoded('event_context_text') },
  {
    name: 'codec: text ZSTD(3)',
    edit: (ddl) => ddl.replace('event_context_text String CODEC(ZSTD(1))', 'event_context_text String CODEC(ZSTD(3))'),
  },
  {
    name: 'codec: times and positions DoubleDelta',
    edit: (ddl) => ddl.replaceAll('CODEC(Delta,', 'CODEC(DoubleDelta,'),
  },
  { name: 'codec: ZSTD for all', edit: setting("default_compression_codec = 'ZSTD(1)'") },
];

function without(ddl: string): string {
  return ddl.replace(/    event_context JSON[^]*?(?=    metadata_version)/, '');
}

function paths(most: number): (ddl: string) => string {
  return (ddl) => ddl.replaceAll('max_dynamic_paths = 128', `max_dynamic_paths = ${most}`);
}

function setting(text: string): (ddl: string) => string {
  return (ddl) => `${ddl.trimEnd()},\n    ${text}\n`;
}

/** Columns with the server's own codec. */
function uncoded(...columns: string[]): (ddl: string) => string {
  return (ddl) =>
    columns.reduce(
      (edited, column) => edited.replace(new RegExp(`^(    ${column} [^]*?) CODEC\\(.*\\),$`, 'm'), '$1,'),
      ddl,
    );
}
