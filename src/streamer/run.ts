import { OutboxError } from '../errors.ts';
import { stalledAfterMs } from './clickhouse/idling.ts';
import type { Config } from './config.ts';
import { createLogger } from './observe/log.ts';
import { LogWriter } from './observe/log-writer.ts';
import { serveHealth } from './telemetry/health.ts';
import { Readiness } from './observe/readiness.ts';
import { startTelemetry } from './telemetry/telemetry.ts';
import { stream } from './stream.ts';

/**
 * Runs the streamer as a process: SIGTERM or SIGINT asks for a graceful stop, a second one ends it at once. Resolves with the
 * exit code: 0 after a graceful stop, 1 when it took too long. Throws OUTBOX_HEALTH_PORT, and OUTBOX_CONFIG_INVALID for
 * OTEL_* variables of `env` that ask for what cannot be done.
 */
export async function run(config: Config, env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const lines = new LogWriter();
  const log = createLogger({ level: config.logLevel, schema: config.schema }, lines);
  const stop = new AbortController();
  let overdue: NodeJS.Timeout | undefined;
  const late = new Promise<number>((resolve) => {
    const onSignal = (signal: NodeJS.Signals): void => {
      if (stop.signal.aborted) {
        log.warn({ signal }, 'second signal, ending at once');
        process.exit(1);
      }
      overdue = setTimeout(() => {
        log.error({ err: new OutboxError('OUTBOX_SHUTDOWN_TIMEOUT') }, 'stopping took too long');
        resolve(1);
      }, config.shutdownTimeoutMs);
      stop.abort();
      log.info({ signal }, 'stopping: buffered events are delivered first');
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
  const { schema, readyMaxLagMs: maxLagMs } = config;
  const readiness = new Readiness({ maxLagMs, stalledAfterMs: stalledAfterMs(config), schema });
  readiness.measures.log = lines;
  const { slot, healthPort } = config;
  const telemetry = await startTelemetry(env, { readiness, slot, isServed: healthPort > 0 });
  try {
    const { metrics } = telemetry;
    const health = metrics !== undefined && healthPort > 0 ? await serveHealth(config, readiness, metrics) : undefined;
    log.info({ slot, table: config.clickhouseTable, node: process.version }, 'starting');
    const done = stream(config, log, readiness, stop.signal).then(() => {
      log.info('stopped');
      return 0;
    });
    const code = await Promise.race([done, late]);
    clearTimeout(overdue);
    health?.stop();
    return code;
  } finally {
    await telemetry.stop();
  }
}
