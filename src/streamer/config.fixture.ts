import { OutboxError } from '../errors.ts';
import { readConfig } from './config.ts';

/** What a streamer cannot do without. */
export const REQUIRED = {
  DATABASE_URL: 'postgres://streamer:s3cret@db.internal:5433/app?sslmode=require',
  CLICKHOUSE_URL: 'https://writer:s3cret@ch.internal:8443/analytics',
};

/** Why an environment is refused. */
export function failure(env: Record<string, string | undefined>, readFile?: (path: string) => string): OutboxError {
  try {
    readConfig(env, readFile);
  } catch (error) {
    if (error instanceof OutboxError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

/** The same of what is required and of `env`. */
export function problems(env: Record<string, string | undefined>): readonly string[] {
  return failure({ ...REQUIRED, ...env }).problems;
}
