import { expect, inject, test } from 'vitest';
import { ClickHouse } from '../../src/streamer/clickhouse/client.ts';
import { Proxy } from '../support/proxy.ts';

const MANY = 'SELECT toString(number) AS n FROM numbers(10000000)';

/** Reads to the end; calls `midway` after the first rows. */
async function read(clickhouse: ClickHouse, query: string, midway = (): void => undefined): Promise<number> {
  let count = 0;
  for await (const rows of clickhouse.stream<{ n: string }>(query)) {
    if (count === 0) midway();
    count += rows.length;
  }
  return count;
}

test('`ClickHouse.stream` ends with all rows or with an error', async () => {
  const { proxy, url } = await Proxy.to(new URL(inject('clickhouseUrl')));
  const clickhouse = new ClickHouse(url, 10_000);
  expect(await read(clickhouse, `${MANY} LIMIT 100000`)).toBe(100_000);
  // the connection breaks, or ClickHouse fails, after the first rows
  await expect(read(clickhouse, MANY, () => proxy.cut())).rejects.toMatchObject({ code: 'OUTBOX_CH_UNREACHABLE' });
  const late = "SELECT toString(number + throwIf(number = 5000000, 'canary')) AS n FROM numbers(10000000)";
  const error = await read(clickhouse, late).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: 'OutboxError', code: expect.stringMatching(/^OUTBOX_CH_/) });
  expect(String(error)).not.toContain('canary');
  await expect(read(clickhouse, 'SELECT 1 FROM nowhere')).rejects.toMatchObject({ code: 'OUTBOX_CH_NOT_MIGRATED' });
  await clickhouse.close();
  await proxy.close();
});

test('`ClickHouse.stream` ends the query when its reader stops', async () => {
  const clickhouse = new ClickHouse(inject('clickhouseUrl'), 10_000);
  for await (const rows of clickhouse.stream<{ n: string }>(MANY)) {
    expect(rows[0]).toEqual({ n: '0' });
    break;
  }
  await expect
    .poll(
      async () => clickhouse.select("SELECT 1 FROM system.processes WHERE query LIKE 'SELECT toString(number) AS n%'"),
      {
        timeout: 20_000,
      },
    )
    .toEqual([]);
  await clickhouse.close();
});
