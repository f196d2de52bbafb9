import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
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

const MIB = 1024 * 1024;

/** Stands where ClickHouse is looked for, and goes on answering. */
async function talking(answer: (response: ServerResponse) => void): Promise<{ url: string; close: () => void }> {
  const server = createServer((request, response) => {
    request.resume();
    response.on('error', () => undefined);
    answer(response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://u:p@127.0.0.1:${port}/db`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** As fast as it is read, for ever. */
function flood(status: number) {
  return (response: ServerResponse): void => {
    response.writeHead(status, { 'x-clickhouse-query-id': 'q' });
    const chunk = Buffer.alloc(MIB, '{"a":1}\n');
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  };
}

test('`ClickHouse.select` gives up an answer that never ends, whatever its status, without holding it', async () => {
  for (const status of [200, 500]) {
    const server = await talking(flood(status));
    const clickhouse = new ClickHouse(server.url, 20_000);
    const before = process.memoryUsage().arrayBuffers;
    const code = status === 200 ? 'OUTBOX_CH_ANSWER' : 'OUTBOX_CH_PROXY';
    await expect(clickhouse.select('SELECT 1')).rejects.toMatchObject({ code });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * MIB);
    await clickhouse.close();
    server.close();
  }
});

test('`ClickHouse.select` gives up an answer that drips, when its time is up', async () => {
  const timers: NodeJS.Timeout[] = [];
  const server = await talking((response) => {
    response.writeHead(200, { 'x-clickhouse-query-id': 'q' });
    timers.push(setInterval(() => response.write('\n'), 50));
  });
  const clickhouse = new ClickHouse(server.url, 1000);
  await expect(clickhouse.select('SELECT 1')).rejects.toMatchObject({
    code: 'OUTBOX_CH_UNREACHABLE',
    message: expect.stringContaining('no answer from ClickHouse within'),
  });
  for (const timer of timers) clearInterval(timer);
  await clickhouse.close();
  server.close();
});

test('`ClickHouse.select` does not take an empty answer of somebody else for one without rows', async () => {
  const server = await talking((response) => response.writeHead(200).end());
  const clickhouse = new ClickHouse(server.url, 1000);
  await expect(clickhouse.select('SELECT 1')).rejects.toMatchObject({ code: 'OUTBOX_CH_ANSWER' });
  await clickhouse.close();
  server.close();
});

test('`ClickHouse` repeats nothing of the rows that a refusal quotes, and finds its kind behind them', async () => {
  const quoted = `event_context_text = 'call (5551234567) now (CANARY_41F7) ${'x'.repeat(300_000)}'`;
  const body = `Code: 6. DB::Exception: Cannot parse ${quoted}: while pushing to view db.v (uuid). (CANNOT_PARSE_TEXT) (version 26.7.2.1)`;
  const server = await talking((response) => {
    response.writeHead(500, { 'x-clickhouse-exception-code': '6' });
    response.end(body);
  });
  const clickhouse = new ClickHouse(server.url, 5000);
  const error = (await clickhouse.select('SELECT 1').catch((thrown: unknown) => thrown)) as Error;
  expect(error).toMatchObject({ code: 'OUTBOX_CH_VIEW_FAILED', clickhouseCode: 6 });
  expect(error.message).toContain('6 CANNOT_PARSE_TEXT');
  expect(JSON.stringify([error, error.message, error.stack])).not.toMatch(/5551234567|CANARY/);
  await clickhouse.close();
  server.close();
});
