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
