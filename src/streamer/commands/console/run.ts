import { once } from 'node:events';
import type { Config, ConsoleConfig } from '../../config.ts';
import { createLogger } from '../../observe/log.ts';
import { LogWriter } from '../../observe/log-writer.ts';
import { serveConsole } from './server.ts';

/** Serves the console until SIGTERM or SIGINT. Throws OUTBOX_CONSOLE_PORT. */
export async function runConsole(
  config: Config,
  settings: ConsoleConfig,
  env: NodeJS.ProcessEnv,
  version: string,
): Promise<void> {
  const log = createLogger({ level: config.logLevel, schema: config.schema }, new LogWriter());
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const console = await serveConsole({ config, settings, env, log, version });
  const mayChange = settings.consoleToken !== '';
  log.info(
    { url: console.url, payloads: settings.consolePayloads, mayChange, slot: config.slot },
    'the console listens',
  );
  await stopped;
  await console.close();
  log.info('the console stopped');
}
