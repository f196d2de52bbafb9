import { DEFAULT_SCHEMA } from '../../schema-name.ts';

/** What is needed to log in to Postgres, as the settings have it: asked for at each connection, because a file may hold something new. */
export interface DatabaseAccess {
  readonly databaseUrl: string;
  /** Prints the password; empty where the URL has it, or none is needed. */
  readonly databasePasswordCommand: string;
  /** Of the outbox. */
  readonly schema: string;
}

/** The same with the defaults of all that a URL does not say. */
export function accessOf(access: string | DatabaseAccess): DatabaseAccess {
  if (typeof access !== 'string') return access;
  return { databaseUrl: access, databasePasswordCommand: '', schema: DEFAULT_SCHEMA };
}
