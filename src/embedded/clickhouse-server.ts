/*
 * The ClickHouse process: node clickhouse-server.js LIBRARY ARGUMENT… runs clickhouse-local's main out of libchdb. It
 * blocks in there until its stdin ends, so it needs a process of its own.
 */
import { DataType, load, open } from 'ffi-rs';

const [library = '', ...rest] = process.argv.slice(2);
const args = ['clickhouse-local', ...rest];

open({ library: 'chdb', path: library });
load({
  library: 'chdb',
  funcName: 'chdb_query_cmdline',
  retType: DataType.External,
  paramsType: [DataType.I32, DataType.StringArray],
  paramsValue: [args.length, args],
});
