import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const isStream = (requests: string): boolean => requests.includes('START_REPLICATION');

/** Pseudo-random bytes, the same each time. */
function noise(bytes: number): Buffer {
  let seed = 42;
  return Buffer.from(Array.from({ length: bytes }, () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) >>> 16));
}

/** The proxy applies each to the first answer that holds an event; then it passes everything again. */
const FAULTS: readonly (readonly [string, (chunk: Buffer) => Buffer])[] = [
  ['zeros', (chunk) => Buffer.concat([Buffer.alloc(512), chunk])],
  ['ones', (chunk) => Buffer.concat([Buffer.alloc(512, 0xff), chunk])],
  ['noise', (chunk) => Buffer.concat([noise(5000), chunk])],
  ['noise behind', (chunk) => Buffer.concat([chunk, noise(5000)])],
  ['an HTTP answer', (chunk) => Buffer.concat([Buffer.from('HTTP/1.1 502 Bad Gateway\r\n\r\n'), chunk])],
  ['a message of another protocol', (chunk) => Buffer.concat([Buffer.from('V\0\0\0\u0008\0\0\0\0', 'latin1'), chunk])],
  ['a CopyData that is none', (chunk) => Buffer.concat([Buffer.from('d\0\0\0\u0008wxyz', 'latin1'), chunk])],
  ['a lost first byte', (chunk) => chunk.subarray(1)],
];

test('the streamer reports garbage in the stream, reconnects and delivers each event once (invariants 2 and 4)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const streamer = outbox.stream({ DATABASE_URL: url, OUTBOX_RETRY_MAX_MS: '100' });
  await streamer.attached();
  let count = 0;
  for (const [name, spoil] of FAULTS) {
    const failures = streamer.logs.length;
    let spoiled = false;
    proxy.answers = (chunk, requests) => {
      if (spoiled || !isStream(requests) || !chunk.includes('test.filled')) return chunk;
      spoiled = true;
      return spoil(chunk);
    };
    await outbox.fill(20);
    count += 20;
    const { err } = await streamer.log(
      (line) => line.err !== undefined && streamer.logs.indexOf(line) >= failures,
      name,
    );
    expect([name, err?.code]).toEqual([name, 'OUTBOX_PROTOCOL']);
    await outbox.untilDelivered(count);
  }
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
  expect(await outbox.delivered()).toEqual({ rows: count, events: count });
});

test('the streamer drops a connection whose message never ends, despite keepalives inside it (invariant 9)', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const streamer = outbox.stream({ DATABASE_URL: url, OUTBOX_RETRY_MAX_MS: '100' });
  await streamer.attached();
  let spoiled = false;
  proxy.answers = (chunk, requests) => {
    if (spoiled || !isStream(requests)) return chunk;
    spoiled = true;
    return Buffer.concat([Buffer.from('d\u0008\0\0\0', 'latin1'), chunk]);
  };
  await outbox.fill(20);
  const failure = await eventually(
    'the streamer gives the server up',
    () => streamer.logs.find(({ level }) => level === 'error'),
    60_000,
  );
  expect(failure.err?.code).toBe('OUTBOX_PG_UNREACHABLE');
  await outbox.untilDelivered(20);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
}, 120_000);

const ANSWERS: readonly (readonly [string, Buffer])[] = [
  ['an unknown authentication request', Buffer.from('R\0\0\0\u0008\0\0\0\u0063', 'latin1')],
  ['a truncated row description', Buffer.from('T\0\0\0\u0006\0\u0003', 'latin1')],
  ['a message of unknown type', Buffer.from('\u0001\0\0\0\u0004', 'latin1')],
  ['zeros', Buffer.alloc(64)],
];

test.for(ANSWERS)('the streamer delivers each event once when an answer of Postgres holds %s', async ([, garbage]) => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.databaseUrl));
  const environment = { DATABASE_URL: url, OUTBOX_RETRY_MAX_MS: '100' };
  let streamer = outbox.stream(environment);
  await streamer.attached();
  let spoiled = false;
  proxy.answers = (chunk, requests) => {
    if (spoiled || isStream(requests)) return chunk;
    spoiled = true;
    return Buffer.concat([garbage, chunk]);
  };
  await outbox.fill(20);
  await eventually('all is in ClickHouse', async () => {
    // some garbage ends the driver, and the process with it; a supervisor restarts it
    if (!streamer.isRunning) streamer = outbox.stream(environment);
    return (await outbox.delivered()).events === 20;
  });
  expect(spoiled).toBe(true);
  expect(await streamer.stop()).toBe(0);
  await proxy.close();
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });
});
