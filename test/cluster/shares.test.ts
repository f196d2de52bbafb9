import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { slotOf } from '../../src/streamer/share.ts';
import { CLUSTER, Cluster, REPLICATED_VIEW } from '../support/cluster.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';
import { expectOnce } from './oracle.ts';

test('an outbox goes from one shard to two while `reshard`, the streamer and a replica of each shard are killed: each event is in one shard, once', async ({
  skip,
}) => {
  const cluster = await Cluster.reach();
  const shards = [1, 2].map((number) => cluster.nodes.filter(({ shard }) => shard === number));
  skip(shards[1]!.length === 0, 'the cluster has one shard');
  await using outbox = await Outbox.create({ cluster: CLUSTER });
  for (const query of REPLICATED_VIEW) await outbox.clickhouse.command({ query });
  const clients = shards.map((nodes) => nodes.map((node) => cluster.clientOf(node, outbox.slot)));
  await using closing = new AsyncDisposableStack();
  for (const client of clients.flat()) closing.defer(async () => client.close());
  const share = (number: number): string => slotOf({ outbox: outbox.slot, number, count: 2 });
  const env = (shard: number): Record<string, string> => {
    const [first, second] = shards[shard - 1]!.map((node) => new URL(cluster.urlOf(node, outbox.slot)));
    return {
      CLICKHOUSE_URL: first!.href.replace(first!.host, `${first!.host},${second!.host}`),
      OUTBOX_CLICKHOUSE_CLUSTER: CLUSTER,
      OUTBOX_INSERT_TIMEOUT_MS: '3000',
    };
  };
  const stream = (number: number): Streamer => outbox.stream({ ...env(number), OUTBOX_SHARD: `${number}/2` });
  const run = async (args: string[], more: Record<string, string> = {}): Promise<string> => {
    const { code, stdout, stderr } = await command(outbox, args, { ...env(1), ...more }).done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  const over = new AbortController();
  const write = async (): Promise<void> => {
    while (!over.signal.aborted) {
      await outbox.fill(7, 'test.shared');
      // the pace of its writes, few enough to be compared in a moment: there is nothing to wait for
      await sleep(10);
    }
  };
  const writing = write();
  const former = outbox.stream(env(1));
  await outbox.untilDelivered(100);
  const killed = command(outbox, ['reshard', '2'], env(1));
  await new Promise<void>((resolve) => killed.lines((line) => line.startsWith('handed over') && resolve()));
  killed.kill();
  await former.kill();
  const away = shards.map(([first]) => first!);
  await Promise.all([killed.done, ...away.map((node) => cluster.kill(node))]);

  const heir = outbox.stream(env(1));
  const early = [stream(1), stream(2)];
  await Promise.all(early.map((streamer) => streamer.attached()));
  await Promise.all(early.map((streamer) => streamer.kill()));
  // one of them may be the only one that has the last insert
  await Promise.all(away.map((node) => cluster.start(node)));
  await run(['reshard', '2']);
  await heir.failure('OUTBOX_SHARD_DIFFERS');
  const late = [stream(1), stream(2)];
  over.abort();
  await writing;
  // enough that each share has one of them: an idle stream acknowledges later
  await outbox.fill(64);
  const end = await outbox.walEnd();
  for (const number of [1, 2])
    await eventually(`share ${number} is settled`, async () => outbox.confirmed(end, share(number)), 90_000);

  const [first, second] = await expectOnce(outbox, clients);
  expect(first).toBeGreaterThan(second!);
  expect(second).toBeGreaterThan(0);
  const verify = async (more: Record<string, string>): Promise<void> =>
    expect(JSON.parse(await run(['verify', '--json', '--wait', '0'], more))).toMatchObject({ identical: true });
  for (const number of [1, 2]) await verify({ ...env(number), OUTBOX_SHARD: `${number}/2` });
  for (const streamer of [heir, ...late]) expect(await streamer.stop()).toBe(0);
});
