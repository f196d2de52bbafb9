import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { emitEvent, emitEvents } from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';
import { rejection, type Stored, storedIn } from './looking.ts';
import { CLIENTS } from './subjects/all.ts';
import type { Subject } from './subjects/subject.ts';

/** Texts that a client would change if it quoted values, counted placeholders or guessed types. */
const ODD = [
  `'; DROP TABLE orders; --`,
  `\\ \\\\ \\n \\' "`,
  '$1 $8 $9 ? ?? \\? :name @p1 %s {0} $$ $tag$',
  '\u0000 \u0001 \u2028',
  'ü€😀 e\u0301 ﬃ',
  '2026-01-02T03:04:05.678Z',
  '{"a":[1,"x"]}',
  '[1,2]',
  'NULL',
  '',
  '\\x00ff',
];

let outbox: Outbox;

beforeAll(async () => {
  outbox = await Outbox.create();
  await outbox.postgres.query('CREATE TABLE orders (id uuid PRIMARY KEY, amount integer NOT NULL)');
});

afterAll(async () => {
  await outbox[Symbol.asyncDispose]();
});

async function stored(): Promise<Stored[]> {
  return storedIn(outbox.postgres);
}

async function types(): Promise<string[]> {
  return (await stored()).map(({ type }) => type);
}

/** The text without the characters that a text of Postgres cannot hold. */
function storable(text: string): string {
  return text.replaceAll('\0', '').toWellFormed();
}

function eventsOf(count: number): { type: string; context: { index: number } }[] {
  return Array.from({ length: count }, (_, index) => ({ type: 'many', context: { index } }));
}

describe.for(CLIENTS.map((client) => [client.name, client] as const))('emitting through %s', ([, { connect }]) => {
  let subject: Subject;

  beforeAll(async () => {
    subject = await connect(outbox.databaseUrl);
  });

  afterEach(async () => {
    await outbox.postgres.query('TRUNCATE outbox.event, orders');
  });

  afterAll(async () => {
    await subject.close();
  });

  test('the recipe of docs/clients.md stores an order and its event', async () => {
    const id = randomUUID();
    await subject.placeOrder({ id, amount: 3 });
    expect(await stored()).toMatchObject([{ type: 'order.placed', context: JSON.stringify({ orderId: id }) }]);
    expect((await outbox.postgres.query('SELECT id, amount FROM orders')).rows).toEqual([{ id, amount: 3 }]);
  });

  test('emitEvent and emitEvents reject when a trigger drops a row, and name no event', async () => {
    await outbox.postgres.query(`
      CREATE FUNCTION public.drop_secret() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RETURN CASE WHEN NEW.event_type = 'secret' THEN NULL ELSE NEW END; END$$;
      CREATE TRIGGER drop_secret BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION public.drop_secret()`);
    try {
      const dropped = {
        code: 'OUTBOX_EMIT_FAILED',
        message: expect.stringMatching(/did not store an event: a trigger/),
      };
      const [secret, other] = ['secret', 'other'].map((type) => ({ type, context: {} })) as [never, never];
      await expect(subject.transaction(async ({ tx }) => void (await emitEvent(tx, secret)))).rejects.toMatchObject(
        dropped,
      );
      const both = subject.transaction(async ({ tx }) => void (await emitEvents(tx, [other, secret])));
      await expect(both).rejects.toMatchObject(dropped);
      expect(await types()).toEqual([]);
    } finally {
      await outbox.postgres.query('DROP FUNCTION public.drop_secret() CASCADE');
    }
  });

  test('the recipe of docs/clients.md stores no event when the order cannot be stored', async () => {
    const order = { id: randomUUID(), amount: 3 };
    await outbox.postgres.query('INSERT INTO orders VALUES ($1, $2)', [order.id, order.amount]);
    await rejection(subject.placeOrder(order));
    expect(await stored()).toEqual([]);
  });

  test('a commit stores odd contents byte for byte, also when the session treats backslashes as escapes', async () => {
    const events = ODD.map((text, index) => ({
      type: `type ${storable(text)}`,
      context: { [text]: text, list: [text, null, 1.5, true] },
      environment: storable(text),
      time: new Date(Date.UTC(1900 + index * 30, 1, 2, 3, 4, 5, 678)),
      metadataVersion: index,
      subject: storable(text),
      id: randomUUID(),
    }));
    await subject.transaction(async ({ tx, run }) => {
      await run('SET LOCAL standard_conforming_strings = off');
      await run("SET LOCAL TimeZone = 'Asia/Kathmandu'");
      await run("SET LOCAL DateStyle = 'SQL, DMY'");
      for (const event of events) await emitEvent(tx, event);
      await emitEvents(tx, events);
    });
    const expected = events.map(({ metadataVersion: version, ...event }) => ({
      ...event,
      version,
      context: JSON.stringify(event.context),
    }));
    expect(await stored()).toEqual([...expected, ...expected]);
  });

  test('a rollback stores nothing', async () => {
    const undone = subject.transaction(async ({ tx }) => {
      await emitEvent(tx, { type: 'a', context: {} });
      await emitEvents(tx, eventsOf(3));
      throw new Error('on purpose');
    });
    await expect(undone).rejects.toThrow('on purpose');
    expect(await stored()).toEqual([]);
  });

  test('a nested transaction that is rolled back loses only its own events', async () => {
    await subject.transaction(async ({ tx, nested }) => {
      await emitEvent(tx, { type: 'before', context: {} });
      const undone = nested(async (inner) => {
        await emitEvent(inner.tx, { type: 'undone', context: {} });
        await emitEvents(inner.tx, eventsOf(3));
        throw new Error('on purpose');
      });
      await expect(undone).rejects.toThrow('on purpose');
      await nested(async (inner) => {
        await emitEvent(inner.tx, { type: 'nested', context: {} });
      });
      await emitEvent(tx, { type: 'after', context: {} });
    });
    expect(await types()).toEqual(['before', 'nested', 'after']);
  });

  test('two interleaved transactions with parallel calls each keep or lose all of their events', async () => {
    const { promise: bothHaveEmitted, resolve } = Promise.withResolvers<void>();
    let emitted = 0;
    const one = (type: string, fail: boolean): Promise<unknown> =>
      Promise.resolve(
        subject.transaction(async ({ tx }) => {
          await Promise.all([
            ...Array.from({ length: 5 }, async () => emitEvent(tx, { type, context: {} })),
            emitEvents(tx, [
              { type, context: {} },
              { type, context: {} },
            ]),
          ]);
          emitted += 1;
          if (emitted === 2) resolve();
          await bothHaveEmitted;
          if (fail) throw new Error('on purpose');
        }),
      );
    const [kept, undone] = await Promise.allSettled([one('kept', false), one('undone', true)]);
    expect([kept.status, undone.status]).toEqual(['fulfilled', 'rejected']);
    expect(await types()).toEqual(Array(7).fill('kept'));
  });

  test.for([1000, 10_000])('emitEvents stores %i events in their order', async (count) => {
    const events = eventsOf(count);
    let ids: string[] = [];
    await subject.transaction(async ({ tx }) => {
      ids = await emitEvents(tx, events);
    });
    const rows = await stored();
    expect(rows.map(({ id }) => id)).toEqual(ids);
    expect(rows.map(({ context }) => context)).toEqual(events.map(({ context }) => JSON.stringify(context)));
  });
});
