import { expect, test } from 'vitest';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';

const QUICK = { OUTBOX_INSERT_TIMEOUT_MS: '1000' };

async function delivered(outbox: Outbox, count: number): Promise<void> {
  const streamer = outbox.stream();
  await streamer.attached();
  await outbox.fill(count);
  await outbox.untilDelivered(count);
  expect(await streamer.stop()).toBe(0);
}

test.concurrent('under another slot name, `repair` sends nothing twice, and after docs/upgrading.md only what was not delivered', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await delivered(outbox, 20);
  await outbox.fill(3, 'test.between');
  const slot = `${outbox.slot}_b`;
  const messages: string[] = [];
  await migratePostgres(outbox.databaseUrl, slot, (line) => messages.push(line));
  expect(messages.join('\n')).toContain('docs/upgrading.md');
  const renamed = { ...QUICK, OUTBOX_SLOT: slot };
  const streamer = outbox.stream({ OUTBOX_SLOT: slot });
  await streamer.attached();
  for (const args of [['repair'], ['repair', '--dry-run'], ['repair', '--new-slot']]) {
    const refused = await command(outbox, args, renamed).done;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('OUTBOX_REPAIR_OTHER_SOURCE');
    expect(refused.stderr).toContain(`20 have the source "`);
  }
  expect(await outbox.delivered()).toEqual({ rows: 20, events: 20 });

  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query(
    'UPDATE outbox.stream b SET source = a.source, moved_at = now() FROM outbox.stream a WHERE a.slot_name = $1 AND b.slot_name = $2',
    [outbox.slot, slot],
  );
  const successor = outbox.stream({ OUTBOX_SLOT: slot });
  const repair = await command(outbox, ['repair', '--json'], renamed).done;
  expect(JSON.parse(repair.stdout)).toMatchObject({ missing: 3, sent: 3, double: 0, extra: 0 });
  await outbox.fill(4);
  await outbox.untilDelivered(27);
  expect(await outbox.delivered()).toEqual({ rows: 27, events: 27 });
  expect(await outbox.viewed()).toBe(27);
  expect(await command(outbox, ['verify'], renamed).done).toMatchObject({ code: 0 });
  expect(await successor.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
}, 120_000);

test.concurrent('`repair --send-again` sends what another source has delivered', async () => {
  await using outbox = await Outbox.create();
  await delivered(outbox, 5);
  const slot = `${outbox.slot}_b`;
  await migratePostgres(outbox.databaseUrl, slot, () => undefined);
  const streamer = outbox.stream({ OUTBOX_SLOT: slot });
  await streamer.attached();
  const { stdout } = await command(outbox, ['repair', '--send-again', '--json'], { ...QUICK, OUTBOX_SLOT: slot }).done;
  expect(JSON.parse(stdout)).toMatchObject({ missing: 5, sent: 5 });
  expect(await outbox.delivered()).toEqual({ rows: 10, events: 5 });
  expect(await streamer.stop()).toBe(0);
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [slot]);
}, 120_000);
