import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const ROWS = 1000;

/** Every event once, in the table and in its view. */
async function expectOnce(outbox: Outbox, rows: number): Promise<void> {
  expect(await outbox.delivered()).toEqual({ rows, events: rows });
  expect(await outbox.viewed()).toBe(rows);
}

/** The view throws at the second half, which is in the table then. */
async function breakView(outbox: Outbox): Promise<void> {
  const query = `SELECT event_type, count() + throwIf(max(JSONExtractInt(event_context_text, 'n')) > ${ROWS / 2}) AS n FROM events GROUP BY event_type`;
  await outbox.clickhouse.command({ query: `ALTER TABLE counter MODIFY QUERY ${query}` });
}

async function mendView(outbox: Outbox): Promise<void> {
  const query = 'SELECT event_type, count() AS n FROM events GROUP BY event_type';
  await outbox.clickhouse.command({ query: `ALTER TABLE counter MODIFY QUERY ${query}` });
}

async function untilSettled(outbox: Outbox): Promise<void> {
  await eventually('all is settled', async () => (await outbox.ledger())['pending_token'] === null);
}

test.concurrent('a full batch goes out in several inserts, one that is not full in one', async () => {
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

test.concurrent('SIGKILL with one insert answered and another not: the successor repeats both as they were, whatever it is set to (invariants 3 and 4)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await breakView(outbox);
  await outbox.fill(ROWS);
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_ROWS: String(ROWS), OUTBOX_BATCH_INSERTS: '2' });
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await eventually('the first is counted', async () => (await outbox.viewed()) === ROWS / 2);
  await streamer.kill();
  expect(await outbox.ledger()).toMatchObject({ pending_rows: ROWS, pending_inserts: 2 });
  await mendView(outbox);
  const successor = outbox.stream({ OUTBOX_BATCH_INSERTS: '1' });
  await eventually('both are counted', async () => (await outbox.viewed()) >= ROWS);
  await untilSettled(outbox);
  expect(await successor.stop()).toBe(0);
  await expectOnce(outbox, ROWS);
});

test.concurrent('the first of two inserts is refused, the second is there: killed, the successor looks for it (invariants 4 and 7)', async () => {
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

test.concurrent('the second of two inserts is refused: the first is kept as it is (invariant 7)', async () => {
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

test.concurrent('three inserts, the middle one refused: it alone is taken apart, and killed in between nothing is twice (invariants 4 and 7)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({
    query: `ALTER TABLE events ADD CONSTRAINT sound CHECK JSONExtractInt(event_context_text, 'n') != ${ROWS / 2}`,
  });
  // the batch ends in the middle of a transaction
  await outbox.fill(ROWS + 100);
  const environment = {
    OUTBOX_BATCH_MAX_ROWS: String(ROWS),
    OUTBOX_BATCH_INSERTS: '3',
    OUTBOX_INSERT_TIMEOUT_MS: '1000',
  };
  const streamer = outbox.stream(environment);
  await streamer.log(({ msg }) => msg === 'an insert is refused for good, and is split');
  await streamer.kill();
  const successor = outbox.stream(environment);
  await outbox.untilDelivered(ROWS + 99);
  await untilSettled(outbox);
  expect(await successor.stop()).toBe(0);
  await expectOnce(outbox, ROWS + 99);
  const { rowCount } = await outbox.postgres.query('SELECT FROM outbox.quarantine');
  expect(rowCount).toBe(1);
});

test.concurrent('a stop while one insert is answered and another fails: the next start repeats what was not there (invariant 4)', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await breakView(outbox);
  await outbox.fill(ROWS);
  const streamer = outbox.stream({ OUTBOX_BATCH_MAX_ROWS: String(ROWS) });
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await eventually('the first is counted', async () => (await outbox.viewed()) === ROWS / 2);
  await streamer.stop();
  expect(await outbox.ledger()).toMatchObject({ pending_rows: ROWS, pending_inserts: 2 });
  await mendView(outbox);
  const successor = outbox.stream();
  await eventually('both are counted', async () => (await outbox.viewed()) >= ROWS);
  await untilSettled(outbox);
  expect(await successor.stop()).toBe(0);
  await expectOnce(outbox, ROWS);
});
