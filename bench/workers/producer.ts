/**
 * An application that commits transactions of events through the library, at a fixed rate. Each transaction is due at its own
 * time, even if the one before was late.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { emitEvents } from '../../src/app/index.ts';
import { quantile } from '../figures.ts';
import { contextOf } from '../notes.ts';
import { given, say } from '../worker.ts';

const rate = Number(given('RATE'));
const seconds = Number(given('SECONDS'));
const perTransaction = Number(given('PER_TRANSACTION'));
const connections = Number(given('CONNECTIONS'));
const transactions = Math.round((rate * seconds) / perTransaction);
const commitMs: number[] = [];
let next = 0;

const clients = await Promise.all(
  Array.from({ length: connections }, async () => {
    const client = new Client(given('DATABASE_URL'));
    await client.connect();
    return client;
  }),
);
say('attached');
const began = performance.now();
await Promise.all(clients.map(produce));
const took = (performance.now() - began) / 1000;
await Promise.all(clients.map(async (client) => client.end()));
commitMs.sort((a, b) => a - b);
say('done', { events: transactions * perTransaction, seconds: took, commitP99Ms: quantile(commitMs, 0.99) });
setInterval(() => undefined, 60_000);

async function produce(client: Client): Promise<void> {
  for (let transaction = next++; transaction < transactions; transaction = next++) {
    const due = began + (transaction * perTransaction * 1000) / rate;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    const asked = performance.now();
    await client.query('BEGIN');
    await emitEvents(
      client,
      Array.from({ length: perTransaction }, (_, i) => event(transaction * perTransaction + i)),
    );
    await client.query('COMMIT');
    commitMs.push(performance.now() - asked);
  }
}

function event(i: number): Parameters<typeof emitEvents>[1][number] {
  return { type: `order.${i % 12}`, environment: 'production', context: contextOf(i) };
}
