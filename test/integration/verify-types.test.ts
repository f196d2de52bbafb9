import { expect, test } from 'vitest';
import { command } from '../support/command.ts';
import { ACCEPTED } from '../support/json-shapes.ts';
import { Outbox } from '../support/outbox.ts';

const MONEY = '{"amount":10,"currency":"EUR","open":true,"rate":1.5,"gone":null}';
const TIMES = '{"day":"2024-01-01","at":"2024-01-01 10:00:00","iso":"2024-01-01T10:00:00.5Z"}';
/** Of every kind, those among them where the table's DEFAULT gives `{}`. */
const TEXTS = [MONEY, TIMES, `{"deep":${'['.repeat(150)}${']'.repeat(150)}}`, ...ACCEPTED.map(({ text }) => text)];
const ROWS = TEXTS.length + 200;

/** All texts delivered, and 200 events of more paths than the table keeps as columns. */
async function delivered(): Promise<Outbox> {
  const outbox = await Outbox.create();
  const streamer = outbox.stream();
  await streamer.attached();
  for (const text of TEXTS)
    await outbox.postgres.query("INSERT INTO outbox.event (event_type, event_context) VALUES ('t', $1)", [text]);
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_type, event_context)
     SELECT 'many', json_build_object('p' || n, n, 'q' || n, json_build_array(n, 'x'), 'same', CASE n % 2 WHEN 0 THEN '1'::json ELSE '"1"' END)
       FROM generate_series(1, 200) n`,
  );
  await outbox.untilDelivered(ROWS);
  expect(await streamer.stop()).toBe(0);
  return outbox;
}

async function change(outbox: Outbox, query: string): Promise<void> {
  await outbox.clickhouse.command({ query, clickhouse_settings: { mutations_sync: '2', alter_sync: '2' } });
}

async function verified(outbox: Outbox): Promise<{ code: number | null; report: unknown }> {
  const { code, stdout } = await command(outbox, ['verify', '--json', '--wait', '0']).done;
  return { code, report: JSON.parse(stdout) };
}

const SAME = {
  code: 0,
  report: expect.objectContaining({ identical: true, altered: 0, mistyped: 0, clickhouse: ROWS }),
};

async function defaultOf(outbox: Outbox): Promise<string> {
  const [column] = await outbox.select<{ expression: string }>(
    "SELECT default_expression AS expression FROM system.columns WHERE database = currentDatabase() AND table = 'events' AND name = 'event_context'",
  );
  return column!.expression;
}

test('`verify` finds a typed column that was changed beside its text, until it is restored from the text', async () => {
  await using outbox = await delivered();
  expect(await verified(outbox)).toEqual(SAME);
  await change(outbox, 'OPTIMIZE TABLE events FINAL');
  expect(await verified(outbox)).toEqual(SAME);

  await change(
    outbox,
    `ALTER TABLE events UPDATE event_context = CAST('{"amount":999999}', 'JSON(max_dynamic_paths = 128)') WHERE event_type = 't'`,
  );
  const { code, report } = await verified(outbox);
  expect({ code, report }).toMatchObject({
    code: 1,
    report: { identical: false, altered: 0, missing: 0, extra: 0, mistyped: TEXTS.length },
  });
  const { stdout } = await command(outbox, ['verify', '--limit', '1', '--wait', '0']).done;
  expect(stdout).toMatch(new RegExp(String.raw`mistyped +${TEXTS.length}\n`));
  expect(stdout).toContain('mistyped, the first 1:');
  expect(stdout).toContain(`Differences: ${TEXTS.length} mistyped.`);
  expect(stdout).not.toContain('999999');
  // as docs/operations.md has it
  await change(outbox, `ALTER TABLE events UPDATE event_context = ${await defaultOf(outbox)} WHERE true`);
  expect(await verified(outbox)).toEqual(SAME);
}, 60_000);

test('`verify` finds a number that became a text, and an event of many that share an id', async () => {
  await using outbox = await delivered();
  await change(
    outbox,
    `ALTER TABLE events UPDATE event_id = toUUID('${'7'.repeat(8)}-7777-7777-7777-777777777777') WHERE true`,
  );
  await change(
    outbox,
    `ALTER TABLE events UPDATE event_context = CAST('{"amount":"10","currency":"EUR","open":true,"rate":1.5,"gone":null}', 'JSON(max_dynamic_paths = 128)')
      WHERE event_context_text = '${MONEY}'`,
  );
  expect((await verified(outbox)).report).toMatchObject({ mistyped: 1 });
}, 60_000);

test('`verify` compares an event_context of another type with its own DEFAULT, and none without a DEFAULT', async () => {
  await using outbox = await delivered();
  const narrow = (await defaultOf(outbox)).replaceAll('128', '16');
  await change(outbox, `ALTER TABLE events MODIFY COLUMN event_context JSON(max_dynamic_paths = 16) DEFAULT ${narrow}`);
  expect(await verified(outbox)).toEqual(SAME);

  await change(outbox, 'ALTER TABLE events DROP COLUMN event_context');
  expect(await verified(outbox)).toMatchObject({ code: 0, report: { identical: true, mistyped: null } });
  const { stdout } = await command(outbox, ['verify', '--wait', '0']).done;
  expect(stdout).toMatch(/mistyped +not compared\n/);

  await change(outbox, 'ALTER TABLE events ADD COLUMN event_context String DEFAULT event_context_text');
  expect(await verified(outbox)).toEqual(SAME);
  await change(outbox, "ALTER TABLE events UPDATE event_context = 'x' WHERE event_context_text = '{}'");
  expect(await verified(outbox)).toMatchObject({ code: 1, report: { mistyped: 1 } });
}, 60_000);
