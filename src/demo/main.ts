import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { startClickHouse } from '../embedded/clickhouse.ts';
import { startPostgres } from '../embedded/postgres.ts';
import { CLI, run, Service, SHOP } from './processes.ts';
import { Questions } from './questions.ts';
import { asRole, prepareShop } from './schema.ts';
import { play } from './story.ts';

const PASSWORD = 'demo';
const INTERRUPTED = 130;

const interrupt = (): never => process.exit(INTERRUPTED);
process.on('SIGINT', interrupt).on('SIGTERM', interrupt);

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
process.exitCode = await demo(values.once).catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  return 1;
});

async function demo(isOnce: boolean): Promise<number> {
  say('Starting Postgres, ClickHouse, the streamer and a shop …');
  const [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  await using services = new AsyncDisposableStack();
  services.use(postgres);
  services.use(clickhouse);

  const servers = {
    CLICKHOUSE_URL: clickhouse.url,
    OUTBOX_RETRY_MAX_MS: '1000',
    OUTBOX_FLUSH_INTERVAL_MS: '200',
    OUTBOX_HEALTH_PORT: '0',
  };
  await run(CLI, ['migrate'], { ...servers, DATABASE_URL: postgres.url });
  await prepareShop(postgres.url, PASSWORD);
  const streamerEnv = { ...servers, DATABASE_URL: asRole('outbox_streamer', PASSWORD, postgres.url) };
  const streamer = await Service.start(CLI, ['run'], streamerEnv, 'attached', ({ msg, err }) => {
    say(`  streamer: ${err?.code ?? ''} ${msg}`);
  });
  services.defer(async () => void (await streamer.stop()));
  const shopEnv = { DATABASE_URL: asRole('shop', PASSWORD, postgres.url), PORT: '0', OUTBOX_ENVIRONMENT: 'demo' };
  const shop = await Service.start(SHOP, [], shopEnv, 'listening', () => undefined);
  services.defer(async () => void (await shop.stop()));

  const questions = new Questions(clickhouse.url);
  services.defer(async () => questions.close());
  const isExact = await play({ shopUrl: shop.up.url!, questions, clickhouse, say });
  if (!isOnce) {
    const token = randomBytes(18).toString('base64url');
    const consoleEnv = { OUTBOX_CONSOLE_PORT: '0', OUTBOX_CONSOLE_TOKEN: token, OUTBOX_CONSOLE_PAYLOADS: 'on' };
    const page = await Service.start(
      CLI,
      ['console'],
      { ...streamerEnv, ...consoleEnv },
      'the console listens',
      () => undefined,
    );
    services.defer(async () => void (await page.stop()));
    say('All stays up until you press Ctrl+C:\n');
    say(`  Postgres     ${postgres.url}\n  ClickHouse   ${clickhouse.url}\n  the shop     ${shop.up.url}`);
    say(`  the console  ${page.up.url}#token=${token}\n`);
    process.off('SIGINT', interrupt);
    await once(process, 'SIGINT');
  }
  const code = await streamer.stop();
  if (code !== 0) say(`The streamer ended with ${code}.`);
  return isExact && code === 0 ? 0 : 1;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
