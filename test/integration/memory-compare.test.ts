import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { memory } from '../../bench/processes.ts';
import { command } from '../support/command.ts';
import { Outbox } from '../support/outbox.ts';

/** A million, as docs/operations.md promises, by `npm run test:memory`: it takes minutes. */
const EVENTS = Number(process.env['OUTBOX_TEST_EVENTS'] ?? 150_000);
/** As docs/operations.md promises, MB of 2^20 bytes. */
const PROMISED_MB = 320;
const SAMPLE_MS = 20;

/** Runs a command to its end. Returns its report, and the largest resident size that it had. */
async function measured(outbox: Outbox, args: string[]): Promise<{ report: unknown; peakMb: number }> {
  const { pid, done } = command(outbox, [...args, '--json'], { OUTBOX_INSERT_TIMEOUT_MS: '5000' });
  const over = new AbortController();
  void done.finally(() => over.abort());
  let peakMb = 0;
  while (!over.signal.aborted) {
    try {
      // NaN while the process is a zombie
      peakMb = Math.max(peakMb, memory(pid).peakMb || 0);
    } catch {
      // it has just ended
    }
    await sleep(SAMPLE_MS);
  }
  return { report: JSON.parse((await done).stdout), peakMb };
}

test('`verify` stops with OUTBOX_VERIFY_SAME_ID at too many events of one id, and compares them once each has its own', async () => {
  await using outbox = await Outbox.create();
  await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
  const many = 50_001;
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_id, event_type, event_context)
     SELECT lpad('7', 32, '0')::uuid, 't', json_build_object('n', n) FROM generate_series(1, $1::int) n`,
    [many],
  );
  const stopped = await command(outbox, ['verify', '--wait', '0', '--json']).done;
  expect(stopped.code).toBe(1);
  expect(stopped.stdout).toContain('OUTBOX_VERIFY_SAME_ID');
  expect(stopped.stdout).toContain('00000000-0000-0000-0000-000000000007');
  // as the code advises
  await outbox.postgres.query(
    "UPDATE outbox.event SET event_id = gen_random_uuid() WHERE event_id = '00000000-0000-0000-0000-000000000007'",
  );
  const { stdout } = await command(outbox, ['verify', '--wait', '0', '--json']).done;
  expect(JSON.parse(stdout)).toMatchObject({ postgres: many, missing: many });
});

describe.skipIf(process.platform !== 'linux')('the memory of a comparison, by the figures of /proc', () => {
  test('`verify` and `repair` keep within what docs/operations.md promises, however many differences there are', async () => {
    await using outbox = await Outbox.create();
    await outbox.postgres.query('SELECT pg_drop_replication_slot($1)', [outbox.slot]);
    await outbox.postgres.query(
      "INSERT INTO outbox.event (event_type, event_context) SELECT 't', '{}' FROM generate_series(1, $1::int)",
      [EVENTS],
    );
    const verify = await measured(outbox, ['verify', '--wait', '0']);
    expect(verify.report).toMatchObject({ postgres: EVENTS, clickhouse: 0, missing: EVENTS });
    const repair = await measured(outbox, ['repair']);
    expect(repair.report).toMatchObject({ missing: EVENTS, sent: EVENTS, quarantined: 0 });
    console.log(`peaks: verify ${verify.peakMb.toFixed(0)} MB, repair ${repair.peakMb.toFixed(0)} MB`);
    expect(Math.min(verify.peakMb, repair.peakMb)).toBeGreaterThan(0);
    expect(Math.max(verify.peakMb, repair.peakMb)).toBeLessThan(PROMISED_MB);
  }, 900_000);
});
