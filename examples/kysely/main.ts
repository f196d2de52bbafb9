import { Kysely, PostgresDialect } from 'kysely';
import { Pool } from 'pg';
import { book, type Database } from './stock.ts';

const { DATABASE_URL } = process.env;
const [delivery = '', ...movements] = process.argv.slice(2);
const pool = new Pool({ connectionString: DATABASE_URL });
const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
try {
  await book(
    db,
    delivery,
    movements.map((movement) => {
      const [sku = '', by = ''] = movement.split('=');
      return { sku, by: Number(by) };
    }),
  );
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await db.destroy();
}
