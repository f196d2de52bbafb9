import { OutboxError } from '../../../errors.ts';
import { connectClient, endClient, SEARCH_PATH } from '../../source/database.ts';
import { databaseUrlOf } from '../../source/hosts.ts';
import { identify } from '../../source/identify.ts';
import { poolerOf } from '../../source/pooler.ts';
import { serverOf } from '../../source/server.ts';
import { findingOf, ok, type Finding } from './finding.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

/** Last, because its connection would be taken for one of a streamer. */
export const POOLER_CHECKS: readonly PostgresCheck[] = [{ id: 'postgres.pooler', examine: pooler }];

/** Whether statements, settings and replication reach the server itself. */
async function pooler(postgres: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.pooler';
  const named = databaseUrlOf(postgres.config.databaseUrl).hosts.flatMap((host) => poolerOf(host) ?? []);
  const detail =
    named.length > 0
      ? `DATABASE_URL leads to ${named.join('; ')}`
      : ((await lostSettings(postgres)) ?? (await lostReplication(postgres)));
  if (detail === undefined) return [ok(id, 'none')];
  return [findingOf(id, new OutboxError('OUTBOX_PG_POOLER', { detail }))];
}

async function lostSettings({ db }: PostgresSubject): Promise<string | undefined> {
  const { rows } = await db.query<{ path: string }>("SELECT current_setting('search_path') AS path");
  return rows[0]!.path === SEARCH_PATH ? undefined : 'the settings of a session do not reach the server';
}

/** A pooler may take a connection for replication as any other, or bring it to another server. */
async function lostReplication({ db, config }: PostgresSubject): Promise<string | undefined> {
  try {
    const client = await connectClient(config, { replication: true }, () => undefined);
    try {
      const [{ systemId }, server] = await Promise.all([identify(client), serverOf(db)]);
      return systemId === server.systemId ? undefined : 'replication reaches another server';
    } finally {
      await endClient(client);
    }
  } catch (error) {
    // a role that may not replicate, and a server that has no sender left, have findings of their own
    if (!(error instanceof OutboxError)) throw error;
    return error.code === 'OUTBOX_PG_POOLER' ? error.message : undefined;
  }
}
