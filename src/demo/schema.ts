import { readFile } from 'node:fs/promises';
import { Client } from 'pg';

const ROLES = new URL('../../migrations/postgres/roles.sql', import.meta.url);

export const SHOP_TABLES = `
  CREATE TABLE IF NOT EXISTS users (id uuid PRIMARY KEY, name text NOT NULL);
  CREATE TABLE IF NOT EXISTS orders (id uuid PRIMARY KEY, user_id uuid NOT NULL, amount numeric NOT NULL, status text NOT NULL);`;

/** The shop's own tables, and roles with no more rights than they need. Idempotent. */
export async function prepareShop(adminUrl: string, password: string): Promise<void> {
  const admin = new Client(adminUrl);
  await admin.connect();
  try {
    await admin.query(await readFile(ROLES, 'utf8'));
    await admin.query(`
      DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop') THEN CREATE ROLE shop LOGIN IN ROLE outbox_producer; END IF;
      END $$;
      ${SHOP_TABLES}
      GRANT SELECT, INSERT, UPDATE ON users, orders TO shop;`);
    for (const role of ['shop', 'outbox_streamer']) {
      await admin.query(`ALTER ROLE ${role} PASSWORD ${admin.escapeLiteral(password)}`);
    }
  } finally {
    await admin.end();
  }
}

/** The same database, as another role. */
export function asRole(role: string, password: string, url: string): string {
  return Object.assign(new URL(url), { username: role, password: encodeURIComponent(password) }).href;
}
