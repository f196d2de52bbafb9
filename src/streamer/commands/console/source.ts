import type pg from 'pg';
import { OutboxError } from '../../../errors.ts';
import type { Config } from '../../config.ts';
import { Database } from '../../source/database.ts';

const APPLICATION_NAME = 'pg-outbox-clickhouse console';
/** Nobody waits longer for a page. */
const PATIENCE = '5s';

/** Postgres for reading: one connection, made when it is needed and again after it was lost. */
export class Source {
  readonly #config: Config;
  #db: Promise<Database> | undefined;

  constructor(config: Config) {
    this.#config = config;
  }

  /** Throws OUTBOX_PG_*. */
  async query<R extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<R[]> {
    return this.ask(async (db) => (await db.query<R>(text, values)).rows);
  }

  /** For functions that want a connection. Throws what they throw. */
  async ask<T>(question: (db: Database) => Promise<T>): Promise<T> {
    const connection: Promise<Database> = (this.#db ??= this.#connect(() => {
      if (this.#db === connection) this.#db = undefined;
    }));
    try {
      return await question(await connection);
    } catch (error) {
      // a statement that has no answer yet would keep the next one waiting
      if (error instanceof OutboxError && error.code === 'OUTBOX_PG_UNREACHABLE') {
        if (this.#db === connection) this.#db = undefined;
        void connection.then(async (db) => db.close()).catch(() => undefined);
      }
      throw error;
    }
  }

  async #connect(lose: () => void): Promise<Database> {
    try {
      const parameters = { statement_timeout: PATIENCE, lock_timeout: PATIENCE, default_transaction_read_only: 'on' };
      const db = await Database.connect(this.#config, { parameters }, lose);
      await nameItself(db);
      return db;
    } catch (error) {
      lose();
      throw error;
    }
  }

  async close(): Promise<void> {
    const db = await this.#db?.catch(() => undefined);
    await db?.close();
  }
}

/** Runs what changes something, on a connection of its own: it begins transactions. Throws OUTBOX_PG_*. */
export async function changing<T>(config: Config, work: (db: Database) => Promise<T>): Promise<T> {
  const db = await Database.connect(config, {}, () => undefined);
  try {
    await nameItself(db);
    return await work(db);
  } finally {
    await db.close();
  }
}

/** Not to be taken for a streamer that stands by. */
async function nameItself(db: Database): Promise<void> {
  await db.query("SELECT set_config('application_name', $1, false)", [APPLICATION_NAME]);
}
