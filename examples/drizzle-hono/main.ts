import { serve } from '@hono/node-server';
import { drizzle } from 'drizzle-orm/node-postgres';
import { createApp } from './app.ts';

const { DATABASE_URL = '', PORT = '3000' } = process.env;
const db = drizzle(DATABASE_URL);

const server = serve({ fetch: createApp(db).fetch, port: Number(PORT) }, ({ port }) => {
  console.log(`http://localhost:${port}`);
});
process.once('SIGTERM', () => server.close(() => void db.$client.end()));
