import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { get, type IncomingMessage, type Server } from 'node:http';
import { expect, test } from 'vitest';
import { readConfig } from '../config.ts';
import { serveHealth } from './health.ts';
import { Readiness } from '../observe/readiness.ts';

const ENVIRONMENT = {
  DATABASE_URL: 'postgres://u:p@127.0.0.1:1/none',
  CLICKHOUSE_URL: 'http://u:p@127.0.0.1:1/none',
  OUTBOX_HEALTH_PORT: '0',
};
const CONFIG = readConfig(ENVIRONMENT);

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

const OF_THIS_HOST = ['localhost', 'localhost:8080', '127.0.0.1:8080', '127.0.0.2', '[::1]:8080'];
const OF_OTHERS = [
  'evil.example',
  'evil.example:8080',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  '10.0.0.1',
  ' ',
];

test.for([
  { healthHost: '127.0.0.1', refused: OF_OTHERS },
  { healthHost: '::ffff:127.0.0.1', refused: OF_OTHERS },
  { healthHost: '127.1', refused: OF_OTHERS },
  { healthHost: '*', refused: [] },
])('on $healthHost serveHealth refuses requests for $refused', async ({ healthHost, refused }) => {
  const config = readConfig({ ...ENVIRONMENT, OUTBOX_HEALTH_HOST: healthHost });
  const health = await serveHealth(config, new Readiness(), async () => Promise.resolve('# none\n'));
  try {
    const ask = async (host: string, path: string): Promise<number | undefined> => {
      const request = get({ host: '127.0.0.1', port: health.port, path, headers: { host } });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    for (const host of [...OF_THIS_HOST, ...OF_OTHERS]) {
      const isRefused = refused.includes(host);
      const answers = [await ask(host, '/livez'), await ask(host, '/readyz'), await ask(host, '/metrics')];
      expect([host, ...answers]).toEqual([host, ...(isRefused ? [421, 421, 421] : [200, 503, 200])]);
    }
  } finally {
    health.stop();
  }
});
