import { startClickHouse, type EmbeddedClickHouse, type EmbeddedClickHouseOptions } from './clickhouse.ts';
import { untilDelivered } from './delivered.ts';
import { startPostgres, type EmbeddedPostgres, type EmbeddedPostgresOptions } from './postgres.ts';
import { findStreamer, migrate, openStreamer, type EmbeddedStreamer, type StreamerSettings } from './streamer.ts';

export interface ServicesOptions {
  postgres?: EmbeddedPostgresOptions;
  clickhouse?: EmbeddedClickHouseOptions;
  /** Settings by the names of docs/configuration.md. With false it is not started; `streamer.start()` does. */
  streamer?: false | StreamerSettings;
}

export interface Services extends AsyncDisposable {
  readonly postgres: EmbeddedPostgres;
  readonly clickhouse: EmbeddedClickHouse;
  readonly streamer: EmbeddedStreamer;
  /**
   * Resolves when everything that was committed before the call is in ClickHouse. Throws OUTBOX_EMBEDDED_FAILED with the end
   * of the streamer's log when it is not within 60 s.
   */
  delivered(): Promise<void>;
  /** Ends all three and removes what they kept. The death of this process, however it comes, does the same. */
  dispose(): Promise<void>;
}

/**
 * Starts a real Postgres and a real ClickHouse on free ports of this host, makes the outbox in both, and streams from one to
 * the other. It takes about two seconds: once for all tests, rather than for each.
 *
 * Throws OUTBOX_EMBEDDED_MISSING, OUTBOX_EMBEDDED_PLATFORM or OUTBOX_EMBEDDED_FAILED; nothing runs then.
 */
export async function startServices(options: ServicesOptions = {}): Promise<Services> {
  const cli = findStreamer();
  const starting = [startPostgres(options.postgres), startClickHouse(options.clickhouse)] as const;
  try {
    const [postgres, clickhouse] = await Promise.all(starting);
    const settings = { DATABASE_URL: postgres.url, CLICKHOUSE_URL: clickhouse.url, ...options.streamer };
    await migrate(cli, settings);
    const streamer = await openStreamer(cli, settings);
    const dispose = async (): Promise<void> => {
      await streamer.dispose();
      await Promise.all([postgres.dispose(), clickhouse.dispose()]);
    };
    try {
      if (options.streamer !== false) await streamer.start();
    } catch (error) {
      await streamer.dispose();
      throw error;
    }
    const delivered = (): Promise<void> => untilDelivered(settings, streamer.log);
    return { postgres, clickhouse, streamer, delivered, dispose, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    const servers = await Promise.allSettled(starting);
    for (const server of servers) if (server.status === 'fulfilled') await server.value.dispose();
    throw error;
  }
}
