import { expect, test } from 'vitest';
import { poolerOf } from './pooler.ts';

test.for<readonly [string, string, string]>([
  ['ep-cool-1234-pooler.eu-central-1.aws.neon.tech', '', 'take “-pooler” out'],
  ['aws-0-eu-central-1.pooler.supabase.com', '5432', 'db.<project>.supabase.co'],
  ['aws-0-eu-central-1.pooler.supabase.com', '6543', 'db.<project>.supabase.co'],
  ['db.abcdef.supabase.co', '6543', 'port 5432'],
  ['app.proxy-c1a2b3.eu-west-1.rds.amazonaws.com', '5432', 'endpoint of the instance'],
  ['app.postgres.database.azure.com', '6432', 'port 5432'],
])('%s:%s is known as a pooler', ([name, port, advice]) => {
  expect(poolerOf({ name, port })).toContain(advice);
});

test.for<readonly [string, string]>([
  ['ep-cool-1234.eu-central-1.aws.neon.tech', ''],
  ['db.abcdef.supabase.co', '5432'],
  ['app.c1a2b3.eu-west-1.rds.amazonaws.com', '5432'],
  ['app.postgres.database.azure.com', '5432'],
  ['my-pooler.example.com', '6543'],
])('%s:%s is not known as a pooler', ([name, port]) => {
  expect(poolerOf({ name, port })).toBeUndefined();
});
