import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const ROWS = 1000;

/** Every event once, in the table and in its view. */
async function expectOnce(outbox: Outbox, rows: number): Promise<void> {
  expect(await outbox.delivered()).toEqual({ rows, events: rows });
  expect(await outbox.viewed()).toBe(rows);
}

async function untilSettled(outbox: Outbox): Promise<void> {
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
}

test('a full batch goes out in several inserts, one that is not full in one', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.fill(2 * ROWS + 300);
  const streamer = outbox.stream({
    OUTBOX_BATCH_MAX_ROWS: String(ROWS),
    OUTBOX_BATCH_INSERTS: '3',
    LOG_LEVEL: 'debug',
  });
  await outbox.untilDelivered(2 * ROWS + 300);
  await untilSettled(outbox);
  expect(await streamer.stop()).toBe(0);
  const batches = streamer.logs.filter(({ msg }) => msg === 'batch inserted');
  expect(batches.map(({ rows, inserts }) => ({ rows, inserts }))).toEqual([
    { rows: ROWS, inserts: 3 },
    { rows: ROWS, inserts: 3 },
    { rows: 300, inserts: 1 },
  ]);
  await expectOnce(outbox, 2 * ROWS + 300);
});

test('SIGKILL with one insert answered and another not: the successor repeats both as they were, whatever it is set to (invariants 3 and 4)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  const count = 'SELECT event_type, count() AS n FROM events GROUP BY event_type';
  // the view throws at the second half, which is in the table then
  const throwing = `SELECT event_type, count() + throwIf(max(JSONExtractInt(event_context_text, 'n')) > ${ROWS / 2}) AS n FROM events GROUP BY event_type`;
  await outbox.clickhouse.command({ query: `ALTER TABLE counter MODIFY QUERY ${throwing}` });
  await outbox.fill(ROWS);
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_ROWS: String(ROWS), OUTBOX_BATCH_INSERTS: '2' });
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await eventually('the first is counted', async () => (await outbox.viewed()) === ROWS / 2);
  await streamer.kill();
  expect(await outbox.ledger()).toMatchObject({ pending_rows: ROWS, pending_inserts: 2 });
  await outbox.clickhouse.command({ query: `ALTER TABLE counter MODIFY QUERY ${count}` });
  const successor = outbox.stream({ OUTBOX_BATCH_INSERTS: '1' });
  await eventually('both are counted', async () => (await outbox.viewed()) >= ROWS);
  await untilSettled(outbox);
  expect(await successor.stop()).toBe(0);
  await expectOnce(outbox, ROWS);
});

test('the first of two inserts is refused, the second is there: killed, the successor looks for it (invariants 4 and 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({
    query: "ALTER TABLE events ADD CONSTRAINT sound CHECK JSONExtractInt(event_context_text, 'n') > 2",
  });
  await outbox.fill(ROWS);
  // after the first event in quarantine it waits, and the rest of the first half is not there
  const streamer = outbox.stream({
    OUTBOX_BATCH_MAX_ROWS: String(ROWS),
    OUTBOX_BATCH_INSERTS: '2',
    OUTBOX_QUARANTINE_MAX_ROWS: '1',
  });
  await streamer.failure('OUTBOX_QUARANTINE_FULL');
  expect(await outbox.delivered()).toEqual({ rows: ROWS / 2, events: ROWS / 2 });
  const { pending_inserts: inserts, read_back_below: below } = await outbox.ledger();
  expect(inserts).toBe(1);
  expect(below).not.toBeNull();
  await streamer.kill();
  const successor = outbox.stream({ OUTBOX_INSERT_TIMEOUT_MS: '1000' });
  await outbox.untilDelivered(ROWS - 2);
  await untilSettled(outbox);
  expect(await successor.stop()).toBe(0);
  await expectOnce(outbox, ROWS - 2);
  const { rowCount } = await outbox.postgres.query('SELECT FROM outbox.quarantine');
  expect(rowCount).toBe(2);
});

test('the second of two inserts is refused: the first is kept as it is (invariant 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({
    query: `ALTER TABLE events ADD CONSTRAINT sound CHECK JSONExtractInt(event_context_text, 'n') != ${ROWS}`,
  });
  await outbox.fill(ROWS);
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_ROWS: String(ROWS), OUTBOX_BATCH_INSERTS: '2' });
  await streamer.failure('OUTBOX_QUARANTINED');
  await outbox.untilDelivered(ROWS - 1);
  await untilSettled(outbox);
  expect(await streamer.stop()).toBe(0);
  expect(streamer.logs.some(({ err }) => err?.code === 'OUTBOX_CH_VIEWS_UNPROVEN')).toBe(false);
  await expectOnce(outbox, ROWS - 1);
});
