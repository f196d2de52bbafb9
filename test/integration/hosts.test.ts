import { expect, test } from 'vitest';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { command } from '../support/command.ts';
import { Outbox, withDatabase } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { ask, promote, startStandby } from '../support/standby-server.ts';
import { eventually } from '../support/wait.ts';

/** Short, because after a failover the streamer waits for the longest life of an insert. */
const INSERTS = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
/** Nobody listens there. */
const NOWHERE = '127.0.0.1:1';

const portOf = ({ url }: Pick<EmbeddedPostgres, 'url'>): string => `127.0.0.1:${new URL(url).port}`;

/** The outbox's URL with other hosts. */
function at(outbox: Outbox, ...hosts: string[]): string {
  const { host } = new URL(outbox.databaseUrl);
  return outbox.databaseUrl.replace(`@${host}/`, `@${hosts.join(',')}/`);
}

test(
  'of several hosts the streamer finds the primary, and after a failover the new one',
  { timeout: 240_000 },
  async () => {
    await using primary = await startPostgres();
    await using outbox = await Outbox.create({ postgresUrl: primary.url, failover: true });
    await using standby = await startStandby(primary);
    const DATABASE_URL = at(outbox, NOWHERE, portOf(standby), portOf(primary));
    const streamer = outbox.stream({ ...INSERTS, DATABASE_URL });
    await outbox.fill(100);
    await outbox.untilDelivered(100);
    const { rows } = await outbox.postgres.query(
      "SELECT DISTINCT backend_type FROM pg_stat_activity WHERE application_name LIKE 'pg-outbox-clickhouse%' ORDER BY 1",
    );
    expect(rows).toEqual([{ backend_type: 'client backend' }, { backend_type: 'walsender' }]);
    const verified = await command(outbox, ['verify', '--wait', '20s', '--json'], { ...INSERTS, DATABASE_URL }).done;
    expect(verified).toMatchObject({ code: 0 });
    const synced = 'SELECT FROM pg_replication_slots WHERE synced AND NOT temporary AND invalidation_reason IS NULL';
    await eventually('the slot is synchronised', async () => (await ask(standby.url, synced)).length === 1, 90_000);
    await primary.kill();
    const line = await streamer.log(({ err }) => err?.problems?.length === 3, 'the hosts that were tried');
    expect(line.err).toMatchObject({
      code: 'OUTBOX_PG_UNREACHABLE',
      problems: [
        `${NOWHERE}: no connection to Postgres: ECONNREFUSED`,
        `${portOf(standby)}: the server is a standby`,
        expect.stringContaining(`${portOf(primary)}: `),
      ],
    });
    await promote(standby);
    await ask(
      withDatabase(standby.url, outbox.slot),
      "INSERT INTO outbox.event (event_type, event_context) SELECT 'test.later', '{}' FROM generate_series(1, 10)",
    );
    await streamer.failure('OUTBOX_TIMELINE_CHANGED');
    await outbox.untilDelivered(110);
    expect(await outbox.delivered()).toEqual({ rows: 110, events: 110 });
    expect(await streamer.stop()).toBe(0);
    expect(streamer.output).not.toContain(new URL(primary.url).password);
  },
);

test('where all hosts are standbys the streamer says so, and so it does of one that is to be the primary', async () => {
  await using primary = await startPostgres();
  await using outbox = await Outbox.create({ postgresUrl: primary.url });
  await using standby = await startStandby(primary);
  for (const DATABASE_URL of [
    at(outbox, portOf(standby), portOf(standby)),
    `${at(outbox, portOf(standby))}?target_session_attrs=read-write`,
    `${at(outbox, portOf(standby), portOf(primary))}?target_session_attrs=any`,
  ]) {
    const streamer = outbox.stream({ DATABASE_URL });
    const { err } = await streamer.failure('OUTBOX_PG_STANDBY');
    expect(err?.next).toContain('by naming all hosts');
    await streamer.kill();
  }
});

test('the streamer gives each host connect_timeout, and does not try others after a login that is refused', async () => {
  await using outbox = await Outbox.create();
  const here = new URL(outbox.databaseUrl).host;
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  proxy.isolate();
  const silent = new URL(url).host;
  const streamer = outbox.stream({ DATABASE_URL: `${at(outbox, silent, here)}?connect_timeout=1` });
  await streamer.attached();
  expect(await streamer.stop()).toBe(0);
  const refused = new URL(at(outbox, here));
  refused.password = 'canary';
  const stranger = outbox.stream({ DATABASE_URL: refused.href.replace(here, `${here},${silent}`) });
  const { err } = await stranger.failure('OUTBOX_PG_AUTH');
  expect(err?.message).toMatch(new RegExp(`^${here}: Postgres answered 28P01`));
  expect(stranger.output).not.toContain('canary');
  await stranger.kill();
  await proxy.close();
});
