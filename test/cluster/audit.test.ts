import { expect, test } from 'vitest';
import { CLUSTER, Cluster } from '../support/cluster.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const CATALOG = new URL('../integration/catalog.fixture.ts', import.meta.url).pathname;
/** Of an hour that is closed: the server's own words, which no grant lets an application write. */
const EARLIER = `INSERT INTO outbox.event (event_type, event_context, subject, recorded_at, bucket)
  SELECT 'order.placed', '{}', 'person/' || n % 5, at, extract(epoch FROM at)::bigint / 86400 % 32
    FROM generate_series(1, 100) n, (SELECT now() - interval '3 hours' AS at) AS hour`;

test('manifests, views of a catalogue and an erasure are the same on every replica, and the manifests still add up', async () => {
  const cluster = await Cluster.reach();
  const nodes = cluster.nodes.filter(({ shard }) => shard === 1);
  const [first] = nodes;
  await using outbox = await Outbox.create({ cluster: CLUSTER, clickhouseUrl: cluster.urlOf(first!, '') });
  const clients = nodes.map((node) => cluster.clientOf(node, outbox.slot));
  const url = new URL(cluster.urlOf(first!, outbox.slot));
  const environment = {
    CLICKHOUSE_URL: url.href.replace(url.host, nodes.map((node) => new URL(node.url).host).join(',')),
    OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER,
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
  };
  const run = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await command(outbox, args, environment).done;
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  };
  const everywhere = async (query: string): Promise<unknown[]> =>
    Promise.all(
      clients.map(async (client) => {
        const result = await client.query({
          query,
          format: 'JSONEachRow',
          clickhouse_settings: { output_format_json_quote_64bit_integers: 0 },
        });
        return (await result.json())[0];
      }),
    );

  const streamer = outbox.stream({ ...environment, OUTBOX_MANIFESTS: 'on' });
  await outbox.postgres.query(EARLIER);
  await eventually('the hour has its manifest', () => streamer.logs.some(({ msg }) => msg === 'made a manifest'));
  const all = (one: object): object[] => nodes.map(() => one);
  await eventually('each replica has it', async () => {
    const counts = await everywhere('SELECT count() AS n FROM events_manifests');
    return counts.every((row) => (row as { n: number }).n === 1);
  });
  await run('verify', '--manifests');

  await run('catalog', CATALOG);
  expect(await everywhere('SELECT count() AS n FROM order_placed')).toEqual(all({ n: 100 }));

  await run('erase', '--subject', 'person/1', '--reason', 'a test', '--yes');
  expect(
    await everywhere(
      "SELECT countIf(subject = 'person/1') AS left, count() AS n, (SELECT count() FROM events_erased) AS tombstones FROM events",
    ),
  ).toEqual(all({ left: 0, n: 80, tombstones: 20 }));
  await run('verify');
  await run('verify', '--manifests');
  expect(await streamer.stop()).toBe(0);
  await Promise.all(clients.map((client) => client.close()));
});
