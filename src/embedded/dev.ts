import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startClickHouse } from './clickhouse.ts';
import { OutboxError } from '../errors.ts';
import { StreamerLog } from './dev-log.ts';
import { firstSteps } from './dev-steps.ts';
import { startPostgres } from './postgres.ts';
import { environment, findStreamer, openStreamer, type StreamerSettings } from './streamer.ts';
import { withoutPassword } from './url.ts';

const HELP = `Usage: pg-outbox-clickhouse dev [--directory <path>]

Starts Postgres, ClickHouse and a streamer between them on this host, with the
tables made, for the application that you develop. Where DATABASE_URL or
CLICKHOUSE_URL is set, that server is used instead. Ctrl-C ends what it has
started.

Options
  --directory <path>  keeps the data of both servers there, for the next time;
                      otherwise they go with the command

Exit codes
  0 stopped by Ctrl-C   1 failed   2 wrong usage or configuration
`;

/** The same every time, so that the URLs can stay in an application's configuration; free ones where these are taken. */
const PORTS = { postgres: 15_432, clickhouse: 18_123 };

type Kind = keyof typeof PORTS;

const NAMES = { postgres: 'Postgres', clickhouse: 'ClickHouse' } as const;
const VARIABLES = { postgres: 'DATABASE_URL', clickhouse: 'CLICKHOUSE_URL' } as const;

interface Server {
  readonly url: string;
  /** Not of one that was given, which stays. */
  readonly dispose?: () => Promise<void>;
}

type Env = Readonly<Record<string, string | undefined>>;
type Start = (options: { directory?: string; port?: number }) => Promise<Server>;

/** `pg-outbox-clickhouse dev`: returns the exit code, and says on standard error what went wrong. */
export async function dev(args: string[], env: Env): Promise<number> {
  const usage = readUsage(args);
  if (typeof usage === 'number') return usage;
  try {
    return await serve(usage.directory, env);
  } catch (error) {
    // the streamer's program, which may be the caller, has a class of its own for its errors
    if (!(error instanceof OutboxError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}

async function serve(directory: string | undefined, env: Env): Promise<number> {
  const began = performance.now();
  const cli = findStreamer();
  const given = (Object.keys(PORTS) as Kind[]).filter((kind) => env[VARIABLES[kind]]);
  say(opening(given));
  const provided = (kind: Kind, start: Start): Promise<Server> => provide(env[VARIABLES[kind]], start, kind, directory);
  const starting = [provided('postgres', startPostgres), provided('clickhouse', startClickHouse)] as const;
  try {
    const [postgres, clickhouse] = await Promise.all(starting);
    const settings = settingsOf(env, postgres.url, clickhouse.url);
    const code = await migrate(cli, settings);
    if (code !== 0) {
      for (const kind of given)
        process.stderr.write(`\nWithout ${VARIABLES[kind]}, \`dev\` starts a ${NAMES[kind]} itself.\n`);
      return code;
    }
    return await streaming(cli, settings, () => {
      say(`Events flow, ${((performance.now() - began) / 1000).toFixed(1)} s after the start.\n`);
      say(firstSteps(shown(postgres), shown(clickhouse)));
      if (postgres.dispose === undefined) say(ofTheSlot(settings['OUTBOX_SLOT'] ?? 'outbox'));
      say('Ctrl-C ends it.');
    });
  } finally {
    const servers = await Promise.allSettled(starting);
    await Promise.all(servers.map(async (server) => server.status === 'fulfilled' && server.value.dispose?.()));
  }
}

function opening(given: readonly Kind[]): string {
  const uses = given.map((kind) => `the ${NAMES[kind]} of ${VARIABLES[kind]}`);
  const started = (Object.keys(NAMES) as Kind[]).filter((kind) => !given.includes(kind)).map((kind) => NAMES[kind]);
  const starts = [...started, 'the streamer'].join(', ').replace(/, (?=[^,]*$)/, ' and ');
  return `${uses.length === 0 ? '' : `Using ${uses.join(' and ')}. `}Starting ${starts} …`;
}

function shown({ url, dispose }: Server): string {
  return dispose === undefined ? withoutPassword(url) : url;
}

function ofTheSlot(slot: string): string {
  return `Afterwards your Postgres keeps WAL for the slot "${slot}" until a streamer runs again, or you drop it:\n\n  SELECT pg_drop_replication_slot('${slot}');\n`;
}

function readUsage(args: string[]): { directory?: string } | number {
  const options = { directory: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { values } = parseArgs({ args, options });
    if (values.help !== true) return values.directory === undefined ? {} : { directory: values.directory };
    process.stdout.write(HELP);
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    return 2;
  }
}

async function provide(
  given: string | undefined,
  start: Start,
  kind: Kind,
  directory: string | undefined,
): Promise<Server> {
  if (given) return { url: given };
  const options = directory === undefined ? {} : { directory: join(directory, kind) };
  try {
    return await start({ ...options, port: PORTS[kind] });
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('Address already in use')) throw error;
    say(`Port ${PORTS[kind]} is taken, perhaps by another \`dev\`: this ${NAMES[kind]} gets a free one.`);
    return start(options);
  }
}

function settingsOf(env: Env, databaseUrl: string, clickhouseUrl: string): StreamerSettings {
  // Neither is given twice: as a file, too.
  const given = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^(DATABASE|CLICKHOUSE)_URL/.test(entry[0]),
  );
  return { ...Object.fromEntries(given), DATABASE_URL: databaseUrl, CLICKHOUSE_URL: clickhouseUrl };
}

/** Returns the exit code of the streamer's own `migrate`, which says what is wrong, and what to do. */
async function migrate(cli: string, settings: StreamerSettings): Promise<number> {
  const child = spawn(process.execPath, [cli, 'migrate'], {
    env: environment(settings),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

/** Streams until Ctrl-C, or until the streamer ends by itself. */
async function streaming(cli: string, settings: StreamerSettings, onAttached: () => void): Promise<number> {
  const streamer = await openStreamer(cli, settings);
  try {
    await streamer.start();
    onAttached();
    const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
    const log = new StreamerLog(streamer);
    const isByUser = await Promise.race([interrupted.then(() => true), log.follow(say).then(() => false)]);
    log.stop();
    if (!isByUser) return 1;
    say('\nStopping …');
    // A second one does not wait.
    process.once('SIGINT', () => process.exit(130));
    await streamer.stop();
    return 0;
  } finally {
    await streamer.dispose();
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
