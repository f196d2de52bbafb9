import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:http';
import { expect, test } from 'vitest';
import { readConfig } from '../config.ts';
import { serveHealth } from './health.ts';
import { Readiness } from '../observe/readiness.ts';

const CONFIG = readConfig({
  DATABASE_URL: 'postgres://u:p@127.0.0.1:1/none',
  CLICKHOUSE_URL: 'http://u:p@127.0.0.1:1/none',
  OUTBOX_HEALTH_PORT: '0',
});

test('serveHealth ignores the query behind a path, and goes on after a connection that it cannot accept', async () => {
  const channel = 'http.server.request.start';
  let server: Server | undefined;
  const onRequest = (message: unknown): void => void ({ server } = message as { server: Server });
  subscribe(channel, onRequest);
  const health = await serveHealth(CONFIG, new Readiness(), async () => Promise.resolve('# none\n'));
  try {
    const ask = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${health.port}${path}`)).status;
    const answers = await Promise.all(['/livez?', '/readyz?verbose', '/metrics?name[]=x', '/livez/x', '//'].map(ask));
    expect(answers).toEqual([200, 503, 200, 404, 404]);
    server!.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    expect(await ask('/livez')).toBe(200);
  } finally {
    unsubscribe(channel, onRequest);
    health.stop();
  }
});
