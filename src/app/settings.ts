import { OutboxError } from '../errors.ts';

/** What holds for all events of one call. */
export interface Settings {
  /** OUTBOX_ENVIRONMENT, else ''. */
  readonly environment: string;
  /** OUTBOX_MAX_EVENT_BYTES: the most that a context's JSON text may have, in UTF-8 bytes. */
  readonly maxEventBytes: number;
  /** The time of the call, ISO 8601 in UTC. */
  readonly now: string;
}

const DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024;
/** A message of Postgres ends at 1 GiB, and logical decoding has to hold the event a second time. */
const LARGEST_MAX_EVENT_BYTES = 64 * 1024 * 1024;

/**
 * Reads the environment. At each call, not once: two reads cost less than a microsecond, and a process that sets its
 * environment late, or a test that changes it, is never surprised.
 *
 * @throws OutboxError OUTBOX_CONFIG_INVALID when OUTBOX_MAX_EVENT_BYTES is not a whole number from 1 to 67,108,864
 */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  return {
    environment: env['OUTBOX_ENVIRONMENT'] ?? '',
    maxEventBytes: maxEventBytes(env['OUTBOX_MAX_EVENT_BYTES']),
    now: new Date().toISOString(),
  };
}

function maxEventBytes(setting: string | undefined): number {
  if (setting === undefined || setting === '') return DEFAULT_MAX_EVENT_BYTES;
  const bytes = /^\d{1,9}$/.test(setting) ? Number(setting) : 0;
  if (bytes >= 1 && bytes <= LARGEST_MAX_EVENT_BYTES) return bytes;
  throw new OutboxError('OUTBOX_CONFIG_INVALID', {
    problems: [`OUTBOX_MAX_EVENT_BYTES: is not a whole number from 1 to ${LARGEST_MAX_EVENT_BYTES}`],
  });
}
