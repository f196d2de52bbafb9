import { integer, pgTable, uuid } from 'drizzle-orm/pg-core';

/** The users' own table, as drizzle describes it. */
export const orders = pgTable('orders', { id: uuid().primaryKey(), amount: integer().notNull() });
