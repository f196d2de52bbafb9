import { OutboxError } from '../../errors.ts';
import type { ClickHouse } from './client.ts';

/** The type JSON is settled since then. */
const OLDEST = [25, 3] as const;

/** Throws OUTBOX_CH_VERSION where the server of a version, such as `24.8.4.13`, is too old. */
export function refuseOld(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return;
  throw new OutboxError('OUTBOX_CH_VERSION', { detail: `the server is of version ${version}` });
}

export async function versionOf(clickhouse: ClickHouse): Promise<string> {
  const [row] = await clickhouse.select<{ version: string }>('SELECT version() AS version');
  return row!.version;
}
