import { setTimeout as sleep } from 'node:timers/promises';
import { load, Totals, visit } from './load.ts';
import { count, type Proof, type Questions } from './questions.ts';

const VISITORS = 6;
const LOAD_MS = 4000;
const OUTAGE_MS = 3000;
const PROBES = 10;
const ARRIVAL_TIMEOUT_MS = 30_000;

export interface Stage {
  readonly shopUrl: string;
  readonly questions: Questions;
  readonly clickhouse: { stop(): Promise<void>; start(): Promise<void> };
  readonly say: (text: string) => void;
}

/** Load, proof, questions; then the persuader: ClickHouse goes away and comes back. Resolves with whether all was exact. */
export async function play({ shopUrl, questions, clickhouse, say }: Stage): Promise<boolean> {
  const totals = new Totals();
  const tell = (): void =>
    say(
      `  ${count(totals.requests)} requests, ${count(totals.commits)} commits, ${count(totals.rollbacks)} rollbacks, ${count(totals.committed.length)} events`,
    );

  say(`\n${VISITORS} visitors for ${LOAD_MS / 1000} seconds:`);
  await during(LOAD_MS, tell, async (isOver) => load(shopUrl, totals, VISITORS, isOver));
  const waits = await probe(shopUrl, totals, questions);
  const first = await arrival(questions, totals);
  say(table(totals, first, waits));
  await ask(questions, totals, say);

  say(`ClickHouse is stopped. The shop goes on:`);
  await clickhouse.stop();
  await during(OUTAGE_MS, tell, async (isOver) => load(shopUrl, totals, VISITORS, isOver));
  say('ClickHouse is started again.');
  await clickhouse.start();
  const second = await arrival(questions, totals);
  say(
    `\n  ${'events committed'.padEnd(34)}${count(totals.committed.length).padStart(10)}\n  ${'rows in ClickHouse'.padEnd(34)}${count(second.rows).padStart(10)}`,
  );
  say(`\n${verdict(second)}\n`);
  return first.isExact && second.isExact;
}

async function during(ms: number, tell: () => void, work: (isOver: () => boolean) => Promise<void>): Promise<void> {
  const end = performance.now() + ms;
  const ticker = setInterval(tell, 1000);
  await work(() => performance.now() > end);
  clearInterval(ticker);
  tell();
}

/** How long after its answer an order can be found in ClickHouse, ms, for a few orders one after the other. */
async function probe(shopUrl: string, totals: Totals, questions: Questions): Promise<number[]> {
  const waits: number[] = [];
  for (let i = 0; i < PROBES; i++) {
    await visit(shopUrl, totals);
    const answered = performance.now();
    while (!(await questions.isThere(totals.committed.at(-1)!))) await sleep(5);
    waits.push(performance.now() - answered);
  }
  return waits.toSorted((a, b) => a - b);
}

/** The first proof in which nothing is missing, or the last one before time is up. */
async function arrival(questions: Questions, totals: Totals): Promise<Proof> {
  const end = performance.now() + ARRIVAL_TIMEOUT_MS;
  for (;;) {
    const proof = await questions.proof(totals);
    if (proof.missing === 0 || performance.now() > end) return proof;
    await sleep(100);
  }
}

async function ask(questions: Questions, totals: Totals, say: (text: string) => void): Promise<void> {
  const answer = (question: string, lines: readonly string[]): void =>
    say(`${question}\n${lines.map((line) => `  ${line}`).join('\n')}\n`);
  answer('What happened, and how much was it worth?', await questions.countsByType());
  const { orderId, traceId } = totals.lastPaid!;
  answer(`What did request ${traceId} do?`, await questions.ofTrace(traceId ?? ''));
  answer(`Who touched order ${orderId}?`, await questions.whoTouched(orderId));
}

function table(totals: Totals, proof: Proof, waits: readonly number[]): string {
  const lines: [string, string][] = [
    ['requests', count(totals.requests)],
    ['transactions committed', count(totals.commits)],
    ['transactions rolled back', count(totals.rollbacks)],
    ['events of committed transactions', count(totals.committed.length)],
    ['rows in ClickHouse', count(proof.rows)],
    ['  missing', count(proof.missing)],
    ['  more than once', count(proof.doubled)],
    ['  of rolled-back transactions', count(proof.ghosts)],
    ['inserts used', count(proof.inserts)],
    ['from commit to queryable, median', `${Math.round(waits[waits.length >> 1]!)} ms`],
    ['  slowest', `${Math.round(waits.at(-1)!)} ms`],
  ];
  return `\n${lines.map(([what, value]) => `  ${what.padEnd(34)}${value.padStart(10)}`).join('\n')}\n\n${verdict(proof)}\n`;
}

function verdict({ isExact }: Proof): string {
  return isExact ? 'Every committed event is there exactly once.' : 'THIS IS NOT WHAT WAS COMMITTED.';
}
