import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { OutboxError } from '../errors.ts';
import { prove } from './proof.ts';
import type { Proof } from './proof.ts';
import { startServices } from './services.ts';
import { runShop } from './shop.ts';
import type { Record } from './shop.ts';

const ARRIVAL_TIMEOUT_MS = 30_000;
const POLL_MS = 100;

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
process.exitCode = await demo(values.once).catch((error: unknown) => {
  const next = error instanceof OutboxError ? `\n\nNext: ${error.next}` : '';
  say(`${error instanceof Error ? error.message : String(error)}${next}`);
  return 1;
});

async function demo(isOnce: boolean): Promise<number> {
  say('Starting Postgres, ClickHouse and the streamer …');
  await using services = await startServices();
  const record = await runShop(services.shopUrl, ({ commits, rollbacks, committed }) => {
    say(`  ${count(commits)} commits, ${count(rollbacks)} rollbacks, ${count(committed.length)} events`);
  });
  say('Waiting for the last events …');
  const proof = await arrival(services.clickhouseUrl, record);
  const isExact =
    proof.missing === 0 && proof.doubled === 0 && proof.ghosts === 0 && proof.rows === record.committed.length;
  say(table(record, proof, isExact));
  if (!isOnce) {
    say(
      `The services stay up until you press Ctrl+C:\n\n  Postgres    ${services.adminUrl}\n  ClickHouse  ${services.clickhouseUrl}\n`,
    );
    await once(process, 'SIGINT');
  }
  const code = await services.stopStreamer();
  if (code !== 0) say(`The streamer ended with ${code}.`);
  return isExact && code === 0 ? 0 : 1;
}

/** The first proof that shows everything, or the last one before time is up. */
async function arrival(clickhouseUrl: string, record: Record): Promise<Proof> {
  const end = performance.now() + ARRIVAL_TIMEOUT_MS;
  for (;;) {
    const proof = await prove(clickhouseUrl, record);
    if (proof.missing === 0 || performance.now() > end) return proof;
    await sleep(POLL_MS);
  }
}

function table(record: Record, proof: Proof, isExact: boolean): string {
  const lines: [string, number][] = [
    ['transactions committed', record.commits],
    ['transactions rolled back', record.rollbacks],
    ['events emitted and committed', record.committed.length],
    ['events emitted and rolled back', record.rolledBack.length],
    ['rows in ClickHouse', proof.rows],
    ['  missing', proof.missing],
    ['  more than once', proof.doubled],
    ['  of rolled-back transactions', proof.ghosts],
    ['inserts used', proof.inserts],
  ];
  const verdict = isExact ? 'Every committed event is there exactly once.' : 'THIS IS NOT WHAT WAS COMMITTED.';
  return `\n${lines.map(([what, n]) => `  ${what.padEnd(32)}${count(n).padStart(10)}`).join('\n')}\n\n${verdict}\n`;
}

function count(n: number): string {
  return n.toLocaleString('en-US');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
