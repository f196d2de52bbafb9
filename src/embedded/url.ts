export const HOST = '127.0.0.1';

export interface Login {
  user: string;
  password: string;
  database: string;
}

// pg decodes the database with decodeURI, which leaves %2F and its like as they are
function encodePath(database: string): string {
  return encodeURI(database).replaceAll('?', '%3F').replaceAll('#', '%23');
}

/** A connection URL with every part percent-encoded. */
export function connectionUrl(
  protocol: 'postgres' | 'http',
  port: number,
  { user, password, database }: Login,
): string {
  return `${protocol}://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${HOST}:${port}/${encodePath(database)}`;
}

/** The same ClickHouse for `fetch`, which takes no user in a URL: user, password and database are parameters. */
export function fetchUrl(clickhouseUrl: string): string {
  const { origin, username, password, pathname } = new URL(clickhouseUrl);
  const parameters = new URLSearchParams();
  for (const [name, encoded] of Object.entries({ user: username, password, database: pathname.slice(1) }))
    if (encoded !== '') parameters.set(name, decodeURIComponent(encoded));
  return `${origin}/?${parameters.toString()}`;
}

/** A URL that a user has given, as it may be shown. */
export function withoutPassword(url: string): string {
  return url.replace(/^([a-z]+:\/\/[^/?#]*?:)[^/?#]*@/, '$1…@');
}
