import { readPem } from '../pem-file.ts';

/** What is needed to reach ClickHouse, as the settings have it: asked for at each request, because a file may hold something new. */
export interface ClickHouseAccess {
  readonly clickhouseUrl: string;
  /** Paths of PEM files; empty for none. */
  readonly clickhouseCaFile: string;
  readonly clickhouseCertFile: string;
  readonly clickhouseKeyFile: string;
}

/** The contents of the files. */
export interface Credentials {
  readonly url: string;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** A file that cannot be read now, or is empty, keeps what it held before. */
export function credentialsOf(access: string | ClickHouseAccess, before?: Credentials): Credentials {
  if (typeof access === 'string') return { url: access, ca: undefined, cert: undefined, key: undefined };
  const read = (path: string, last: string | undefined): string | undefined => {
    try {
      return path === '' ? undefined : readPem(path);
    } catch {
      return last;
    }
  };
  return {
    url: access.clickhouseUrl,
    ca: read(access.clickhouseCaFile, before?.ca),
    cert: read(access.clickhouseCertFile, before?.cert),
    key: read(access.clickhouseKeyFile, before?.key),
  };
}
