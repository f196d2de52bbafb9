import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';

const WIDE = `{${Array.from({ length: 300 }, (_, i) => `"k${i}":${i}`).join()}}`;
const deep = (open: string, levels: number): string => `{"a":${open.repeat(levels)}1${']'.repeat(levels)}}`;

/**
 * ClickHouse parses the name of an array's type again when the path is not among those with a column of their own, and
 * refuses to beyond 300 nodes: 167, or 306. emitEvent refuses such contexts; raw SQL can put them in, and the table's DEFAULT
 * does not type them.
 */
test('arrays nested 200 deep beside many other paths do not hold up the stream (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  for (const context of [WIDE, deep('[', 200)])
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [context]);
  const streamer = outbox.stream();
  const answer = await streamer.log(({ msg }) => msg === 'batch delivered' || msg.startsWith('insert failed'));
  expect(answer.err?.code).toBeUndefined();
});

/** What cannot be merged piles up as parts, until ClickHouse refuses inserts. */
test('arrays nested 200 deep among others of the same path can be merged (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  const levels = [...Array.from({ length: 40 }, (_, i) => i + 1), 200];
  const streamer = outbox.stream();
  for (const n of levels)
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [
      deep('[', n),
    ]);
  await outbox.untilDelivered(levels.length);
  expect(await streamer.stop()).toBe(0);
  await outbox.clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL SETTINGS optimize_throw_if_noop = 1' });
});
