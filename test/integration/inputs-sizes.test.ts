import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { emitEvent, emitEvents } from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';

const MIB = 1024 * 1024;
/** A context whose JSON text has so many bytes of UTF-8. */
const contextOf = (bytes: number): { s: string } => ({ s: 'x'.repeat(bytes - '{"s":""}'.length) });
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex').toUpperCase();

test('emitEvent accepts contexts of 2 bytes and of 16 MiB, which arrive, and rejects a byte more before any SQL', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  const client = await outbox.postgres.connect();
  const contexts = [{}, contextOf(16 * MIB), {}];
  await client.query('BEGIN');
  for (const context of contexts) await emitEvent(client, { type: 'size', context });
  const refused = {
    code: 'OUTBOX_EVENT_INVALID',
    problems: [`event.context: is larger than ${16 * MIB} bytes (OUTBOX_MAX_EVENT_BYTES)`],
  };
  await expect(emitEvent(client, { type: 'size', context: contextOf(16 * MIB + 1) })).rejects.toMatchObject(refused);
  // the limit counts bytes of UTF-8, not characters
  await expect(emitEvents(client, [{ type: 'size', context: { s: 'ü'.repeat(8 * MIB) } }])).rejects.toMatchObject({
    code: 'OUTBOX_EVENT_INVALID',
  });
  await client.query('COMMIT');
  client.release();
  await outbox.untilDelivered(contexts.length);
  expect(await streamer.stop()).toBe(0);
  const hashes = await outbox.select<{ hash: string }>(
    'SELECT hex(SHA256(event_context_text)) AS hash FROM events ORDER BY lsn, seq',
  );
  expect(hashes.map(({ hash }) => hash)).toEqual(contexts.map((context) => sha256(JSON.stringify(context))));
});

test('the streamer delivers a row larger than every limit, in a batch of its own (invariants 6 and 7)', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_BYTES: '65536', OUTBOX_FLUSH_INTERVAL_MS: '2000' });
  await streamer.attached();
  const { rows } = await outbox.postgres.query(`
    WITH sizes AS (SELECT n, CASE n WHEN 3 THEN 20e6::int WHEN 5 THEN 66e3::int ELSE 100 END AS size FROM generate_series(1, 6) n),
    put AS (
      INSERT INTO outbox.event (event_type, event_context)
      SELECT n::text, json_build_object('n', n, 'pad', repeat(n::text, size)) FROM sizes ORDER BY n
      RETURNING event_type, event_context
    )
    SELECT event_type AS type, upper(encode(sha256(event_context::text::bytea), 'hex')) AS hash FROM put`);
  await outbox.untilDelivered(6);
  expect(await streamer.stop()).toBe(0);
  const arrived = await outbox.select(
    'SELECT event_type AS type, hex(SHA256(event_context_text)) AS hash FROM events ORDER BY lsn, seq',
  );
  expect(arrived).toEqual(rows);
  const batches = streamer.logs.filter(({ msg }) => msg === 'batch delivered');
  // the streamer sends the first events at once, in one batch or in several
  const sizes = batches.map((line) => Number(line['rows']));
  expect(sizes.slice(-4)).toEqual([1, 1, 1, 1]);
  expect(sizes.reduce((sum, size) => sum + size)).toBe(6);
});
