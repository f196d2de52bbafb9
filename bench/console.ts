/**
 * What the console costs over a large table: the time until the first page is complete in a real browser, the CPU that ten consoles take
 * from each database, and the memory of one that stays open. Only the shares of a core can be compared with those of another machine.
 *
 *   npm run bench:console -- [--events 10000000] [--pages 9] [--consoles 10] [--minutes 5]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { buildPage } from '../scripts/page.ts';
import { launchBrowser, openTab } from '../test/support/browser.ts';
import { ConsoleProcess, TOKEN } from '../test/support/console.ts';
import { memory, treeCpuSeconds } from './processes.ts';
import { Servers } from './servers.ts';

/** As the page does. */
const EVERY_MS = 5000;
const CHARTS = 5;
const AT_ONCE = 1_000_000;

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '10000000' },
    pages: { type: 'string', default: '9' },
    consoles: { type: 'string', default: '10' },
    minutes: { type: 'string', default: '5' },
  },
});
const [events, pages, consoles, minutes] = [values.events, values.pages, values.consoles, values.minutes].map(
  Number,
) as [number, number, number, number];

await buildPage();
await using servers = await Servers.start();
const { source, warehouse } = servers;
const outbox = { databaseUrl: source.url, clickhouseUrl: warehouse.url, slot: 'outbox' };
await using stack = new AsyncDisposableStack();
stack.use(await servers.stream());
await fill();

const settings = { OUTBOX_CONSOLE_TOKEN: TOKEN };
const first = stack.use(await ConsoleProcess.start(outbox, settings));
await measurePages();
await measureCost();

/** Events of eight days, most of them old, as a stream would have left them. */
async function fill(): Promise<void> {
  const sourceName = (await source.db.query<{ source: string }>('SELECT source FROM outbox.stream')).rows[0]!.source;
  for (let from = 0; from < events; from += AT_ONCE)
    await warehouse.command(
      `INSERT INTO events (event_type, event_date_time, environment, event_context_text, metadata_version, subject, event_id, source, lsn, seq,
                           committed_at, delivered_at, trace_id, span_id, recorded_at, recorded_by, origin)
       SELECT concat('type.', toString(number % 12)), at, 'production', '{"orderId": 7, "amount": 4.5}', 1, concat('order/', toString(number % 100000)),
              generateUUIDv4(), '${sourceName}', number, 1, at, at + toIntervalMillisecond(300), '', '', at, 'app', 'stream'
         FROM (SELECT number, now64(6, 'UTC') - toIntervalMicrosecond(intDiv(8 * 86400 * 1000000, ${events}) * (${events} - number)) AS at
                 FROM numbers(${from}, ${Math.min(AT_ONCE, events - from)}))`,
    );
  await source.db.query(
    "INSERT INTO outbox.event (event_type, event_context) SELECT 'type.live', '{}' FROM generate_series(1, 100)",
  );
  await sleep(3000);
}

async function measurePages(): Promise<void> {
  const browser = await launchBrowser();
  const times: number[] = [];
  try {
    for (let n = 0; n < pages; n++) {
      const began = performance.now();
      await using tab = await openTab(browser, first);
      await tab.page.locator('.verdict.ok').waitFor();
      await tab.page.waitForFunction(`document.querySelectorAll('canvas').length === ${CHARTS}`);
      await tab.page.waitForLoadState('networkidle', { timeout: 1 }).catch(() => undefined);
      times.push(performance.now() - began);
    }
  } finally {
    await browser.close();
  }
  const sorted = times.toSorted((a, b) => a - b);
  const show = (ms: number | undefined): string => `${Math.round(ms!)} ms`;
  console.log(
    `first page complete over ${events.toLocaleString('en-US')} events: median ${show(sorted[Math.floor(sorted.length / 2)])} (${show(sorted[0])} to ${show(sorted.at(-1))})`,
  );
}

async function measureCost(): Promise<void> {
  const others = await Promise.all(
    Array.from({ length: consoles - 1 }, async () => stack.use(await ConsoleProcess.start(outbox, settings))),
  );
  const all = [first, ...others];
  const quiet = await share(30_000, async () => sleep(EVERY_MS));
  await sleep(EVERY_MS);
  const before = memory(first.pid).residentMb;
  const busy = await share(minutes * 60_000, async () => {
    await Promise.all(
      all.map(async (each) =>
        Promise.all([each.get('/api/flow?slot=outbox'), each.get('/api/charts?slot=outbox&range=hour')]),
      ),
    );
    await sleep(EVERY_MS);
  });
  const after = memory(first.pid).residentMb;
  for (const name of ['Postgres', 'ClickHouse'] as const)
    console.log(
      `${name}: ${percent(busy[name] - quiet[name])} of a core for ${consoles} consoles (${percent(quiet[name])} without)`,
    );
  console.log(`memory of a console: ${before.toFixed(0)} MB, after ${minutes} minutes ${after.toFixed(0)} MB`);
}

/** The share of a core that each database takes while something is repeated for so long. */
async function share(ms: number, turn: () => Promise<void>): Promise<{ Postgres: number; ClickHouse: number }> {
  const used = async (): Promise<[number, number]> => [
    await treeCpuSeconds(source.pid),
    await treeCpuSeconds(warehouse.pid),
  ];
  const began = performance.now();
  const before = await used();
  while (performance.now() - began < ms) await turn();
  const after = await used();
  const seconds = (performance.now() - began) / 1000;
  return { Postgres: (after[0] - before[0]) / seconds, ClickHouse: (after[1] - before[1]) / seconds };
}

function percent(part: number): string {
  return `${(part * 100).toFixed(2)} %`;
}
