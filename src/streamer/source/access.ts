/** What is needed to log in to Postgres, as the settings have it: asked for at each connection, because a file may hold something new. */
export interface DatabaseAccess {
  readonly databaseUrl: string;
  /** Prints the password; empty where the URL has it, or none is needed. */
  readonly databasePasswordCommand: string;
}
