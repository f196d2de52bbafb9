import { OutboxError } from '../errors.ts';
import { DEFAULT_SCHEMA, SCHEMA_FORM, SCHEMA_PATTERN } from '../schema-name.ts';

/** The settings for all events of one call. */
export interface Settings {
  /** OUTBOX_SCHEMA, else `outbox`: where the outbox is. */
  readonly schema: string;
  /** OUTBOX_ENVIRONMENT, else ''. */
  readonly environment: string;
  /** OUTBOX_MAX_EVENT_BYTES: the most that a context's JSON text may have, in UTF-8 bytes. */
  readonly maxEventBytes: number;
  /** The time of the call, ISO 8601 in UTC. */
  readonly now: string;
}

const DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024;
/** A message of Postgres holds 1 GiB at most, and logical decoding holds the event a second time. */
const LARGEST_MAX_EVENT_BYTES = 64 * 1024 * 1024;

/**
 * Reads the environment variables. It does so at each call, because three reads cost less than a microsecond. So it also works
 * for a process that sets its environment late, and for a test that changes it.
 *
 * @throws OutboxError OUTBOX_CONFIG_INVALID when OUTBOX_MAX_EVENT_BYTES is not a whole number from 1 to 67,108,864, or
 *   OUTBOX_SCHEMA no name of an outbox
 */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  return {
    schema: schemaOf(env['OUTBOX_SCHEMA']),
    environment: env['OUTBOX_ENVIRONMENT'] ?? '',
    maxEventBytes: maxEventBytes(env['OUTBOX_MAX_EVENT_BYTES']),
    now: new Date().toISOString(),
  };
}

function schemaOf(setting: string | undefined): string {
  if (setting === undefined || setting === '') return DEFAULT_SCHEMA;
  if (SCHEMA_PATTERN.test(setting)) return setting;
  throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems: [`OUTBOX_SCHEMA: is not ${SCHEMA_FORM}`] });
}

function maxEventBytes(setting: string | undefined): number {
  if (setting === undefined || setting === '') return DEFAULT_MAX_EVENT_BYTES;
  const bytes = /^\d{1,9}$/.test(setting) ? Number(setting) : 0;
  if (bytes >= 1 && bytes <= LARGEST_MAX_EVENT_BYTES) return bytes;
  throw new OutboxError('OUTBOX_CONFIG_INVALID', {
    problems: [`OUTBOX_MAX_EVENT_BYTES: is not a whole number from 1 to ${LARGEST_MAX_EVENT_BYTES}`],
  });
}
