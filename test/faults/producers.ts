import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { emitEvent, emitEvents } from '../../src/app/index.ts';
import { context, draft, jsonText } from './contexts.ts';
import { Dice } from './dice.ts';
import { digestOf, type Oracle, type Transaction, type Written } from './oracle.ts';

/** What becomes of a transaction, as its producer means it. */
type Ending = 'commit' | 'rollback' | 'fail' | 'drop before COMMIT' | 'drop after COMMIT';

const ENDINGS: readonly Ending[] = [
  ...Array.from<Ending>({ length: 40 }).fill('commit'),
  ...Array.from<Ending>({ length: 6 }).fill('rollback'),
  'fail',
  'drop before COMMIT',
  'drop after COMMIT',
];

export interface ProducersOptions {
  readonly url: string;
  readonly oracle: Oracle;
  readonly count: number;
  readonly seed: number;
  /** Waits while there is more under way than the streamer can be asked to catch up with. */
  readonly isTooFarAhead: () => boolean;
}

/** Applications that write events, each in a transaction after the other, and write down what became of them. */
export class Producers {
  readonly #options: ProducersOptions;
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(options: ProducersOptions) {
    this.#options = options;
    const dice = new Dice(options.seed);
    this.#running = Array.from({ length: options.count }, async (_, n) => this.#produce(n, new Dice(dice.seed())));
  }

  /** What is open is ended first. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  async #produce(producer: number, dice: Dice): Promise<void> {
    while (!this.#stopped) {
      const client = new Client({ connectionString: this.#options.url, connectionTimeoutMillis: 3000 });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!this.#stopped) {
          // asked again and again until the streamer has caught up, for as long as the faults keep it from that
          while (this.#options.isTooFarAhead() && !this.#stopped) await sleep(50);
          await this.#transact(client, producer, dice);
          await dice.pause(0, 250);
        }
      } catch {
        // Postgres is away, or the producer itself has dropped the connection
        await dice.pause(50, 300);
      } finally {
        drop(client);
      }
    }
  }

  async #transact(client: Client, producer: number, dice: Dice): Promise<void> {
    const transaction = this.#options.oracle.begin(producer);
    try {
      await client.query('BEGIN');
      const ending = dice.pick(ENDINGS);
      const isDoomed = ending !== 'commit' && ending !== 'drop after COMMIT';
      const isLong = dice.chance(0.01);
      for (let left = isLong ? dice.between(5, 12) : dice.between(1, 3); left > 0; left--) {
        const isUndone = dice.chance(0.12);
        const before = transaction.events.length;
        if (isUndone) await client.query('SAVEPOINT here');
        await write(client, transaction, dice, isDoomed || isUndone, isLong);
        if (isUndone) {
          await client.query('ROLLBACK TO SAVEPOINT here');
          transaction.undo(before);
        }
        if (isLong) await dice.pause(20, 300);
      }
      await end(client, transaction, ending);
    } catch (error) {
      if (transaction.outcome === 'open') transaction.rolledBack();
      throw error;
    }
  }
}

async function end(client: Client, transaction: Transaction, ending: Ending): Promise<void> {
  switch (ending) {
    case 'commit': {
      transaction.committing();
      const { command } = await client.query('COMMIT');
      if (command === 'COMMIT') transaction.committed();
      else transaction.rolledBack();
      return;
    }
    case 'fail':
      await client.query('SELECT 1 / 0').catch(() => undefined);
      await client.query('ROLLBACK');
      transaction.rolledBack();
      return;
    case 'rollback':
      await client.query('ROLLBACK');
      transaction.rolledBack();
      return;
    case 'drop before COMMIT':
      transaction.rolledBack();
      throw new Error('dropped');
    case 'drop after COMMIT':
      transaction.committing();
      void client.query('COMMIT').catch(() => undefined);
      await new Promise(setImmediate);
      throw new Error('dropped');
  }
}

/** Some events, as an application sends them or by plain SQL. */
async function write(
  client: Client,
  transaction: Transaction,
  dice: Dice,
  doomed: boolean,
  isLong: boolean,
): Promise<void> {
  const count = isLong ? dice.between(50, 250) : dice.chance(0.05) ? dice.between(30, 200) : dice.between(1, 8);
  const drafts = Array.from({ length: count }, () => draft(dice, doomed));
  if (dice.chance(0.2)) {
    const rows = drafts.map((event, n) => ({ ...event, id: randomUUID(), text: jsonText(dice, n) }));
    transaction.wrote(rows.map(written));
    await client.query(
      `INSERT INTO outbox.event (event_id, event_type, environment, metadata_version, event_context)
       SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::json[])`,
      [
        rows.map(({ id }) => id),
        rows.map(({ type }) => type),
        rows.map(({ environment }) => environment),
        rows.map(({ version }) => version),
        rows.map(({ text }) => text),
      ],
    );
    return;
  }
  const events = drafts.map(({ version, ...event }, n) => ({
    ...event,
    id: randomUUID(),
    metadataVersion: version,
    context: context(dice, n),
  }));
  transaction.wrote(
    events.map(({ metadataVersion, context: data, ...event }) =>
      written({ ...event, version: metadataVersion, text: JSON.stringify(data) }),
    ),
  );
  if (dice.chance(0.5)) await emitEvents(client, events);
  else for (const event of events) await emitEvent(client, event);
}

function written(event: { id: string; type: string; environment: string; version: number; text: string }): Written {
  const { id, type, environment, version, text } = event;
  return { id, type, digest: digestOf(type, environment, version, text) };
}

/** Without a farewell, so that an open transaction ends as it does when an application dies. */
function drop(client: Client): void {
  const { connection } = client as unknown as { connection: { stream: { destroy: () => void } } };
  connection.stream.destroy();
}
