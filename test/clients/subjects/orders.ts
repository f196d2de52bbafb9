import { integer, pgTable, uuid } from 'drizzle-orm/pg-core';

/** The table of the user, for drizzle. */
export const orders = pgTable('orders', { id: uuid().primaryKey(), amount: integer().notNull() });
