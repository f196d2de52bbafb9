import type { DatabaseError } from 'pg';
import { expect, test } from 'vitest';
import { emitEvent } from '../../src/app/index.ts';
import type { OutboxError } from '../../src/errors.ts';
import { ACCEPTED, REFUSED } from '../support/json-shapes.ts';
import { Outbox } from '../support/outbox.ts';

interface Row {
  text: string;
  typed: string;
}

async function arrived(outbox: Outbox): Promise<Row[]> {
  return outbox.select<Row>(
    'SELECT event_context_text AS text, toJSONString(event_context) AS typed FROM events ORDER BY lsn, seq',
  );
}

/** Returns `stored`, or the SQLSTATE with which Postgres rejects it. */
async function insert(outbox: Outbox, text: string): Promise<string> {
  try {
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('shape', $1)", [text]);
    return 'stored';
  } catch (error) {
    return (error as DatabaseError).code ?? String(error);
  }
}

test('the streamer delivers each JSON text that Postgres accepts once, byte for byte, among rejected ones (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  // rejected and accepted ones in turn, each in a transaction of its own
  for (let i = 0; i < Math.max(ACCEPTED.length, REFUSED.length); i++) {
    for (const { text, sqlState = 'stored' } of [REFUSED[i], ACCEPTED[i]].filter((shape) => shape !== undefined))
      expect([text.slice(0, 50), await insert(outbox, text)]).toEqual([text.slice(0, 50), sqlState]);
  }
  await outbox.untilDelivered(ACCEPTED.length);
  expect(await streamer.stop()).toBe(0);
  const rows = await arrived(outbox);
  expect(rows.map(({ text }) => text)).toEqual(ACCEPTED.map(({ text }) => text));
  // the typed column always holds an object; it is empty where the JSON type rejects the context
  for (const { typed } of rows) expect(typed).toMatch(/^\{/);
  expect(rows.map(({ typed }) => typed)).toEqual(ACCEPTED.map(({ typed }, i) => typed ?? rows[i]!.typed));
});

/** What an application would emit: the shapes that are objects in JavaScript, within the limits of a context. */
function emittable(): object[] {
  return ACCEPTED.map(({ text }): unknown => JSON.parse(text)).filter(
    (context): context is object => typeof context === 'object' && context !== null && !Array.isArray(context),
  );
}

test('emitEvent sends contexts as JSON.stringify writes them, and rejects infinities and deep nesting before any SQL', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  await client.query('BEGIN');
  const emitted: string[] = [];
  const problems: string[] = [];
  for (const context of emittable()) {
    try {
      await emitEvent(client, { type: 'shape', context });
      // lone surrogates, the only ones that are escaped
      emitted.push(JSON.stringify(context).replaceAll(/(?<!\\)\\ud[89a-f][0-9a-f]{2}/g, '\ufffd'));
    } catch (error) {
      problems.push(...(error as OutboxError).problems);
    }
  }
  await client.query('COMMIT');
  client.release();
  await outbox.untilDelivered(emitted.length);
  expect(await streamer.stop()).toBe(0);
  expect((await arrived(outbox)).map(({ text }) => text)).toEqual(emitted);
  expect(emitted.length).toBeGreaterThan(80);
  // JSON.parse makes an infinity of a number beyond a double
  expect(problems.length).toBeGreaterThan(5);
  for (const problem of problems)
    expect(problem).toMatch(/ is (-?Infinity|nested deeper than 100 levels)$| has two properties of the path /);
});
