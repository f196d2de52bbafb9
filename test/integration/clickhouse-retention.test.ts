import { expect, test } from 'vitest';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const POLICY = 'subject=order/7:forever, environment=staging:30d, type=debug.*:8d, default:2y';

async function retain(outbox: Outbox, retention: string): Promise<string[]> {
  const lines: string[] = [];
  await migrateClickHouse(outbox.clickhouseUrl, { table: 'events', retention }, (line) => lines.push(line));
  return lines;
}

async function ttlFindings(outbox: Outbox, retention: string): Promise<{ level: string; fix: { run: string }[] }[]> {
  const { stdout } = await command(outbox, ['doctor', '--json'], { OUTBOX_CLICKHOUSE_RETENTION: retention }).done;
  const { findings } = JSON.parse(stdout) as { findings: { id: string; level: string; fix: { run: string }[] }[] };
  return findings.filter(({ id }) => id === 'clickhouse.ttl');
}

test('migrate removes from ClickHouse what OUTBOX_CLICKHOUSE_RETENTION does not keep, and what is held stays', async () => {
  await using outbox = await Outbox.create();
  const { clickhouse } = outbox;
  await clickhouse.command({
    query: `INSERT INTO events (event_id, subject, environment, event_type, committed_at) SELECT generateUUIDv4(), tupleElement(e, 1), tupleElement(e, 2),
      tupleElement(e, 3), now() - toIntervalDay(tupleElement(e, 4)) FROM (SELECT arrayJoin([('order/7', 'staging', 'debug.a', 2000), ('a', 'staging', 'kept', 29),
      ('b', 'staging', 'x', 31), ('c', '', 'debug.a', 9), ('d', '', 'debug', 9), ('e', '', 'x', 731)]) AS e)`,
  });

  expect(await retain(outbox, POLICY)).toContain('ClickHouse: updated the TTL of the table "events"');
  await eventually('what is expired is gone', async () => {
    await clickhouse.command({ query: 'OPTIMIZE TABLE events FINAL' });
    const left = await outbox.select<{ subject: string }>('SELECT subject FROM events ORDER BY subject');
    return left.map(({ subject }) => subject).join() === 'a,d,order/7';
  });
  expect(await retain(outbox, POLICY)).toContain('ClickHouse: the TTL of the table "events" is unchanged');
  expect(await ttlFindings(outbox, POLICY)).toMatchObject([{ level: 'ok' }]);
  expect(await ttlFindings(outbox, 'default:2y')).toMatchObject([
    { level: 'warning', fix: [{ run: 'pg-outbox-clickhouse migrate' }] },
  ]);
  // nothing set changes nothing
  expect((await retain(outbox, '')).join()).not.toContain('TTL');
  expect((await retain(outbox, 'default:2y')).join()).toContain('the TTL was toDateTime');
});

test('migrate leaves a TTL that somebody else has made, and moves that stand beside its own', async () => {
  await using outbox = await Outbox.create();
  const engine = async (): Promise<string> =>
    (
      await outbox.select<{ ttl: string }>(
        "SELECT engine_full AS ttl FROM system.tables WHERE database = currentDatabase() AND name = 'events'",
      )
    )[0]!.ttl;
  const move = 'toDateTime(committed_at) + toIntervalDay(40) RECOMPRESS CODEC(ZSTD(9))';
  await outbox.clickhouse.command({
    query: `ALTER TABLE events MODIFY TTL toDateTime(committed_at) + INTERVAL 9 DAY, ${move}`,
  });
  const before = await engine();

  await expect(retain(outbox, 'default:2y')).rejects.toMatchObject({ code: 'OUTBOX_CH_TTL_FOREIGN' });
  expect(await engine()).toBe(before);
  expect(await ttlFindings(outbox, 'default:2y')).toMatchObject([
    { level: 'warning', fix: [{ run: expect.stringContaining('REMOVE TTL') }, {}] },
  ]);

  await outbox.clickhouse.command({ query: `ALTER TABLE events MODIFY TTL ${move}` });
  await retain(outbox, 'default:2y');
  expect(await engine()).toContain(` TTL toDateTime(committed_at, 'UTC') + toIntervalDay(730), ${move}`);
  await retain(outbox, 'default:forever');
  expect(await engine()).toContain(` TTL ${move}`);
});
