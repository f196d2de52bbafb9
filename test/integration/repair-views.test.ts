import { expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };
const COUNTING = 'SELECT event_type, count() AS n FROM events GROUP BY event_type';
const THROWING = COUNTING.replace('count()', "throwIf(event_type = 'test.lost') + count()");

async function modify(outbox: Outbox, query: string): Promise<void> {
  await outbox.clickhouse.command({ query: `ALTER TABLE counter MODIFY QUERY ${query}` });
}

async function arrived(outbox: Outbox, rows: number): Promise<void> {
  await eventually(`${rows} rows`, async () => (await outbox.delivered()).rows === rows, 60_000);
}

/** Repairs after the view is fixed, and once more. */
async function expectUnproven(outbox: Outbox, rows: number): Promise<void> {
  await modify(outbox, COUNTING);
  const { code, stdout } = await command(outbox, ['repair'], QUICK).done;
  expect(code).toBe(1);
  expect(stdout).toContain(`OUTBOX_CH_VIEWS_UNPROVEN: ${rows} rows`);
  expect(stdout).toMatch(/^ {2}missing +0$/m);
  const again = await command(outbox, ['repair', '--new-slot', '--json'], QUICK).done;
  expect(again.code).toBe(0);
  expect(JSON.parse(again.stdout)).toMatchObject({ missing: 0, viewsUnproven: 0 });
}

async function withLostSlot(outbox: Outbox): Promise<void> {
  await outbox.addView();
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(2);
  await outbox.untilDelivered(2);
  await modify(outbox, THROWING);
  expect(await streamer.stop()).toBe(0);
}

test.concurrent('`repair` says that a view may lack what an earlier run inserted that was killed while the view failed', async () => {
  await using outbox = await Outbox.create();
  await withLostSlot(outbox);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  await outbox.fill(20, 'test.lost');
  const killed = command(outbox, ['repair'], QUICK);
  await arrived(outbox, 22);
  killed.kill();
  await killed.done;
  await expectUnproven(outbox, 20);
  expect(await outbox.delivered()).toEqual({ rows: 22, events: 22 });
}, 120_000);

test.concurrent('`repair` says that a view may lack what the stream inserted before its slot was lost', async () => {
  await using outbox = await Outbox.create();
  await withLostSlot(outbox);
  await outbox.fill(5, 'test.lost');
  const streamer = outbox.stream();
  await streamer.failure('OUTBOX_CH_VIEW_FAILED');
  await arrived(outbox, 7);
  await streamer.kill();
  await eventually('the slot is free', async () => {
    const { rows } = await outbox.postgres.query(
      'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND NOT active',
      [outbox.slot],
    );
    return rows.length === 1;
  });
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  await expectUnproven(outbox, 5);
  expect(await outbox.delivered()).toEqual({ rows: 7, events: 7 });
}, 120_000);
