import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  dialect: 'postgresql',
  schema: './src/app/schema.ts',
  out: './migrations/postgres',
  schemaFilter: ['outbox'],
});
