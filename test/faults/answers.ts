import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';

/** An answer to an INSERT that is not the server's own. */
export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export type AnswerName = keyof typeof ANSWERS;

/** As ClickHouse 26.7 answers, header by header, and as a balancer before it does. */
export const ANSWERS = {
  '503': (): Answer => ({
    status: 503,
    headers: { server: 'nginx', 'content-type': 'text/html', 'retry-after': '1' },
    body: '<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n',
  }),
  '413 of a proxy': (): Answer => page(413, 'Request Entity Too Large'),
  '429 of a proxy': (): Answer => page(429, 'Too Many Requests'),
  '502 of a proxy': (): Answer => page(502, 'Bad Gateway'),
  // as of a table that refuses every row
  '469 VIOLATED_CONSTRAINT': (): Answer =>
    exception(500, 469, 'Constraint `sound` for table default.events is violated at row 1. (VIOLATED_CONSTRAINT)'),
  '252 TOO_MANY_PARTS': (): Answer =>
    exception(
      500,
      252,
      "Too many parts (3004 with average size of 2.31 KiB) in table 'default.events (846a7433-f7ed-439f-beef-60542eeb46bc)'. Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)",
    ),
  '241 MEMORY_LIMIT_EXCEEDED': (): Answer =>
    exception(
      500,
      241,
      '(total) memory limit exceeded: would use 3.61 GiB (attempt to allocate chunk of 4.00 MiB), current RSS: 3.60 GiB, maximum: 3.60 GiB. OvercommitTracker decision: Query was selected to stop by OvercommitTracker. (MEMORY_LIMIT_EXCEEDED)',
    ),
  '200 and an exception in its header': (): Answer => ({
    ...exception(200, 241, 'Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)'),
    body: '',
  }),
  '200 and an exception in its body': (): Answer => {
    // as it comes once progress went out in the headers: the code is in the text alone
    const { headers, ...answer } = exception(
      200,
      159,
      'Timeout exceeded: elapsed 1000.124 ms, maximum: 1000 ms. (TIMEOUT_EXCEEDED)',
    );
    const { 'x-clickhouse-exception-code': _, ...others } = headers;
    return { ...answer, headers: others };
  },
} as const;

function page(status: number, words: string): Answer {
  const title = `${status} ${words}`;
  return {
    status,
    headers: { server: 'nginx', 'content-type': 'text/html' },
    body: `<html>\r\n<head><title>${title}</title></head>\r\n<body>\r\n<center><h1>${title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n`,
  };
}

function exception(status: number, code: number, text: string): Answer {
  return {
    status,
    headers: {
      'x-clickhouse-summary':
        '{"read_rows":"0","read_bytes":"0","written_rows":"0","written_bytes":"0","total_rows_to_read":"0","result_rows":"0","result_bytes":"0","elapsed_ns":"40656077","memory_usage":"0"}',
      'content-type': 'text/plain; charset=UTF-8',
      // another name would be another server behind the same address
      'x-clickhouse-server-display-name': hostname(),
      'x-clickhouse-query-id': randomUUID(),
      'x-clickhouse-timezone': 'Etc/UTC',
      'x-clickhouse-exception-code': String(code),
      'x-clickhouse-exception-tag': 'xoxbyfmaxtxswiqr',
    },
    body: `Code: ${code}. DB::Exception: ${text} (version 26.7.2.1)\n`,
  };
}
