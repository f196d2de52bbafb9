import { pipeline, Readable } from 'node:stream';
import { constants, createZstdCompress } from 'node:zlib';
import type { Inserting } from './settings.ts';

/** One INSERT. Every repetition must be given the same body, token and row count. */
export interface Insert {
  /** `INSERT INTO … FORMAT …`, without data. */
  readonly query: string;
  readonly parameters: Record<string, string>;
  readonly body: Iterable<Buffer>;
  readonly rows: number;
  readonly token: string;
  readonly queryId: string;
}

/** The fastest: the streamer has to keep up with its walsender. */
const LEVEL = 1;

interface Body {
  readonly values: Readable;
  readonly http_headers: Record<string, string>;
}

/**
 * The body of an insert, compressed where that is set: block by block, so that no second copy of a batch is ever in memory. ClickHouse
 * knows a repetition by its token, so that how a body is compressed decides nothing.
 * https://clickhouse.com/docs/interfaces/http#compression
 */
export function bodyOf(
  blocks: Iterable<Buffer>,
  compression: Inserting['compression'],
  signal: AbortSignal,
  headers: Record<string, string> = {},
): Body {
  const plain = Readable.from(blocks, { objectMode: false });
  if (compression !== 'zstd') return { values: plain, http_headers: headers };
  const compressor = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: LEVEL } });
  signal.addEventListener('abort', () => compressor.destroy(), { once: true });
  // what fails here fails the request
  pipeline(plain, compressor, () => undefined);
  return { values: compressor, http_headers: { ...headers, 'Content-Encoding': 'zstd' } };
}
