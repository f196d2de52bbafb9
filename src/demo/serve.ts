/**
 * The shop as a process: DATABASE_URL, PORT (3000; 0 takes a free one) and the standard OTEL_* variables. With
 * SHOP_LOAD=<visits a second> it also visits itself. Prints its URL as a JSON line.
 */
import { instrument } from './instrumentation.ts';

const sdk = instrument();
const { createApp } = await import('./app.ts');
const { visit, Totals } = await import('./load.ts');

const { DATABASE_URL = '', PORT = '3000', SHOP_LOAD = '0' } = process.env;
const app = createApp(DATABASE_URL);
const url = await app.listen({ port: Number(PORT), host: '0.0.0.0' });
process.stdout.write(`${JSON.stringify({ msg: 'listening', url, visitsPerSecond: Number(SHOP_LOAD) })}\n`);

const everyMs = 1000 / Number(SHOP_LOAD);
const load = Number.isFinite(everyMs)
  ? setInterval(() => void visit(url, new Totals()).catch(() => undefined), everyMs)
  : undefined;

async function stop(): Promise<void> {
  clearInterval(load);
  await app.close();
  await sdk.shutdown().catch(() => undefined);
  process.exit(0);
}
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop());
