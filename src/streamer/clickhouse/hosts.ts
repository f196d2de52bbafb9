/** Scheme and login · hosts · path. The login ends at the last @, as in every URL. */
const PARTS = /^([a-z]+:\/\/(?:[^/?#]*@)?)([^/?#]*)(.*)$/is;

/** A URL for each host that CLICKHOUSE_URL names, in their order; undefined for what is no such URL. */
export function readClickHouseUrl(text: string): URL[] | undefined {
  const [, begin = '', list = '', rest = ''] = PARTS.exec(text) ?? [];
  const urls = list.split(',').map((host) => (host === '' ? null : URL.parse(`${begin}${host}${rest}`)));
  return urls.every((url) => url !== null) ? urls : undefined;
}

/** The same of one that has been read before. */
export function urlsOf(text: string): [URL, ...URL[]] {
  const [first, ...others] = readClickHouseUrl(text) ?? [];
  if (first === undefined) throw new TypeError('CLICKHOUSE_URL is not the URL of a server');
  return [first, ...others];
}

/** A URL of one host as the URL of all hosts of another. */
export function withHostsOf(text: string, url: URL): string {
  const list = PARTS.exec(text)?.[2] ?? '';
  return list.includes(',')
    ? url.href.replace(PARTS, (_, begin: string, __, rest: string) => `${begin}${list}${rest}`)
    : url.href;
}
