import { createClient } from '@clickhouse/client';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { childrenOf } from './children.ts';
import { startServices, type Services } from './services.ts';
import { eventually, exists, runScenario, running } from './testing.fixture.ts';

async function insert({ postgres }: Services, id: string): Promise<void> {
  const client = new Client(postgres.url);
  await client.connect();
  await client.query("INSERT INTO outbox.event (event_id, event_type, event_context) VALUES ($1, 'a', '{}')", [id]);
  await client.end();
}

async function delivered({ clickhouse }: Services): Promise<string[]> {
  const client = createClient({ url: clickhouse.url });
  const query = 'SELECT event_id FROM events ORDER BY lsn';
  const rows = await (await client.query({ query, format: 'JSONEachRow' })).json<{ event_id: string }>();
  await client.close();
  return rows.map(({ event_id }) => event_id);
}

const [FIRST, SECOND] = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'] as const;

test('startServices lets a test start, kill and restart the streamer, and delivered waits for committed events', async () => {
  const services = await startServices({ streamer: false });
  try {
    const { streamer } = services;
    expect(streamer.pid).toBe(0);
    await services.delivered();
    await insert(services, FIRST);
    await streamer.start();
    await services.delivered();
    expect(await delivered(services)).toEqual([FIRST]);
    await streamer.kill();
    await insert(services, SECOND);
    await streamer.start();
    await services.delivered();
    expect(await delivered(services)).toEqual([FIRST, SECOND]);
    await streamer.stop();
    await streamer.stop();
    expect(await running([streamer.pid])).toEqual([]);
  } finally {
    await services.dispose();
  }
  expect(await running([services.postgres.pid, services.clickhouse.pid])).toEqual([]);
  expect(await exists(services.streamer.log)).toBe(false);
});

test('startServices quotes a migration that fails, and leaves no process behind', async () => {
  const before = await childrenOf(process.pid);
  await expect(startServices({ streamer: { OUTBOX_SLOTS: 'x' } })).rejects.toMatchObject({
    code: 'OUTBOX_EMBEDDED_FAILED',
    problems: expect.arrayContaining([expect.stringContaining('OUTBOX_SLOTS is unknown')]),
  });
  expect(await childrenOf(process.pid)).toEqual(before);
});

test('the embedded streamer dies when SIGKILL kills its parent, and its directory is removed', async () => {
  const { child, pid, directory } = await runScenario('streamer');
  child.kill('SIGKILL');
  await eventually('the process is gone', async () => (await running([pid])).length === 0);
  await eventually('the directory is gone', async () => !(await exists(directory)));
  expect(await running([pid])).toEqual([]);
});
