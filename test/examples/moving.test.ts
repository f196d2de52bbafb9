import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ROOT } from '../package/packages.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const DIRECT = 'Direct inserts, from now on';
/** What analysts ask for, before and after. */
const QUERY = `
  SELECT event_type, metadata_version AS version, count() AS events, sum(event_context.amount::Int64) AS amount
  FROM events GROUP BY ALL ORDER BY event_type`;
const OLD_ROWS = `
  INSERT INTO events (event_type, event_date_time, environment, event_context, metadata_version) VALUES
    ('order.placed', '2015-01-31 10:00:00', 'production', '{"orderId": 1, "amount": 5}', 1),
    ('order.placed', '2024-02-01 10:00:00', 'production', '{"orderId": 2, "amount": 7}', 1),
    ('user.signed_in', '2024-02-01 10:00:00', 'production', '{"userId": 7}', 1)`;

/** The statements of the guide, by the heading that they stand under. */
let guide: Map<string, string[]>;
let outbox: Outbox;

beforeAll(async () => {
  const text = await readFile(join(ROOT, 'docs/moving.md'), 'utf8');
  guide = new Map(
    text.split(/^#+ /m).map((section) => {
      const blocks = [...section.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, sql = '']) => sql);
      const found = blocks.flatMap((sql) => sql.split(/;\n/)).filter((statement) => statement.trim() !== '');
      return [section.slice(0, section.indexOf('\n')), found] as const;
    }),
  );
});
beforeEach(async () => {
  outbox = await Outbox.create({ migrated: false });
});
afterEach(() => outbox[Symbol.asyncDispose]());

function statements(heading: string): string[] {
  const found = guide.get(heading) ?? [];
  expect(found).not.toEqual([]);
  return found;
}

async function run(...queries: string[]): Promise<void> {
  for (const query of queries) await outbox.clickhouse.command({ query });
}

async function cli(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return command(outbox, args).done;
}

/** Emits as an application does after the switch: an order that is rolled back, then one that is placed. */
async function placeOrders(): Promise<void> {
  const placed = (id: number): string => `SELECT outbox.emit('order.placed', '{"orderId": ${id}, "amount": 30}')`;
  await outbox.postgres.query(`BEGIN; ${placed(3)}; ROLLBACK; BEGIN; ${placed(4)}; COMMIT`);
  await eventually('it is in ClickHouse', async () => {
    const [emitted] = await outbox.select<{ n: number }>("SELECT count() AS n FROM events WHERE source != ''");
    return emitted!.n === 1;
  });
}

async function expectEachOnce(): Promise<void> {
  expect(await outbox.select(QUERY)).toEqual([
    { event_type: 'order.placed', version: 1, events: 3, amount: 42 },
    { event_type: 'user.signed_in', version: 1, events: 3, amount: 0 },
  ]);
  // a view is filled right after the table
  await eventually('the view has all', async () => {
    const [counted] = await outbox.select<{ n: number }>('SELECT sum(events) AS n FROM daily');
    return counted!.n >= 6;
  });
  expect(await outbox.select('SELECT event_type, sum(events) AS events FROM daily GROUP BY ALL ORDER BY ALL')).toEqual([
    { event_type: 'order.placed', events: 3 },
    { event_type: 'user.signed_in', events: 3 },
  ]);
}

test('a table adopted as docs/moving.md says takes direct inserts and events, and old queries read all rows', async () => {
  await run(...statements('Move from direct ClickHouse inserts to the outbox'), OLD_ROWS);
  const refused = await cli('migrate');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('OUTBOX_CH_TABLE_UNSUITABLE');
  expect(refused.stderr).toContain('migrate --adopt');
  expect(await cli('migrate', '--adopt', '--yes')).toMatchObject({ code: 0 });

  const streamer = outbox.stream();
  await streamer.attached();
  // the same rows twice: the deduplication window would take the second insert for a repetition of the first
  await run(...statements(DIRECT), ...statements(DIRECT));
  await placeOrders();
  await expectEachOnce();
  expect(await cli('verify')).toMatchObject({ code: 0 });
  expect(streamer.output).not.toContain('OUTBOX_CH_VIEW_FORGETS');

  const [question = ''] = statements('Switch by type');
  const switched = [
    { event_type: 'order.placed', direct: 2, outbox: 1, last_direct: '2024-02-01 10:00:00' },
    { event_type: 'user.signed_in', direct: 3, outbox: 0, last_direct: '2025-03-01 12:00:00' },
  ];
  expect(await outbox.select(question)).toEqual(switched);

  for (const query of statements('Backfill'))
    await outbox.clickhouse.command({ query, clickhouse_settings: { mutations_sync: '1' } });
  await expectEachOnce();
  expect(await outbox.select(question)).toEqual(switched);
  expect(
    await outbox.select("SELECT uniqExact(event_id) AS ids, countIf(event_context_text = '') AS without FROM events"),
  ).toEqual([{ ids: 6, without: 0 }]);

  expect(await streamer.stop()).toBe(0);
  for (const statement of statements('Go back'))
    await outbox.postgres.query(statement.replace("'outbox'", `'${outbox.slot}'`));
  await run(...statements(DIRECT));
  expect(await outbox.select("SELECT count() AS n FROM events WHERE event_type = 'user.signed_in'")).toEqual([
    { n: 4 },
  ]);
});

test('ClickHouse drops the second of two equal direct inserts without deduplicate_insert, as docs/moving.md warns', async () => {
  await run(...statements('Move from direct ClickHouse inserts to the outbox'));
  expect(await cli('migrate', '--adopt', '--yes')).toMatchObject({ code: 0 });
  const [insert = ''] = statements(DIRECT);
  const plain = insert.replace(/SETTINGS .*\n/, 'SETTINGS insert_deduplicate = 0\n');
  await run(plain, plain);
  expect(await outbox.select('SELECT count() AS n FROM events')).toEqual([{ n: 1 }]);
});
