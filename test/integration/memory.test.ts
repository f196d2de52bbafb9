import { describe, expect, test } from 'vitest';
import { forgetPeak, memory } from '../../bench/processes.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const MIB = 1024 * 1024;
/** How much the runtime's heap may grow between an idle streamer and a busy one, MB. */
const BUSY_MB = 60;

/** Returns what tells how far the streamer's memory has peaked above its present size, MB. */
function growth(streamer: Streamer): () => number {
  const { residentMb } = memory(streamer.pid);
  forgetPeak(streamer.pid);
  return () => memory(streamer.pid).peakMb - residentMb;
}

interface Walsender {
  pid: number;
  replied: Date;
  sent: string;
  waits: boolean;
}

async function walsender(outbox: Outbox): Promise<Walsender> {
  const { rows } = await outbox.postgres.query<Walsender>(
    `SELECT r.pid, reply_time AS replied, sent_lsn AS sent, wait_event IS NOT DISTINCT FROM 'WalSenderWriteData' AS waits
       FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid JOIN pg_stat_activity a ON a.pid = r.pid
      WHERE slot_name = $1`,
    [outbox.slot],
  );
  return rows[0]!;
}

// bench/memory.ts measures the same for longer
describe.skipIf(process.platform !== 'linux')('the streamer’s memory, by the figures of /proc', () => {
  test('the streamer leaves a backlog of 100 batches in Postgres and keeps answering the walsender (invariants 6 and 9)', async () => {
    await using outbox = await Outbox.create();
    const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
    try {
      const streamer = outbox.stream({ CLICKHOUSE_URL: url, OUTBOX_BATCH_MAX_BYTES: String(MIB) });
      await streamer.attached();
      await outbox.fill(1);
      await outbox.untilDelivered(1);
      const grown = growth(streamer);
      proxy.holdRequests();
      const events = 100_000;
      const contexts = `SELECT json_build_object('n', n, 'pad', repeat('x', 1500)) FROM generate_series(1, $1::int) n`;
      await outbox.postgres.query(
        `INSERT INTO outbox.event (event_type, event_context) SELECT 'test.waits', * FROM (${contexts}) c`,
        [events],
      );

      const paused = await eventually('the walsender cannot send', async () => {
        const [was, now] = [await walsender(outbox), await walsender(outbox)];
        return now.waits && was.sent === now.sent && now;
      });
      for (let last = paused, statuses = 0; statuses < 3; statuses++) {
        last = await eventually('another status', async () => {
          const now = await walsender(outbox);
          return now.replied > last.replied && now;
        });
        expect(last).toMatchObject({ pid: paused.pid, sent: paused.sent });
      }
      expect(grown()).toBeLessThan(2 + BUSY_MB);

      proxy.release();
      await outbox.untilDelivered(events + 1);
      expect(await outbox.delivered()).toEqual({ rows: events + 1, events: events + 1 });
      expect((await walsender(outbox)).pid).toBe(paused.pid);
      expect(grown()).toBeLessThan(2 + BUSY_MB);
    } finally {
      await proxy.close();
    }
  });

  test('the streamer passes over a large row of another table without putting it together, under FOR ALL TABLES (invariant 6)', async () => {
    await using outbox = await Outbox.create({ migrated: false });
    await outbox.postgres.query('CREATE TABLE public.big (body text)');
    await outbox.postgres.query('ALTER TABLE public.big ALTER body SET STORAGE EXTERNAL');
    await outbox.postgres.query('CREATE PUBLICATION outbox FOR ALL TABLES WITH (publish_via_partition_root = true)');
    await outbox.migrate();
    const streamer = outbox.stream();
    await streamer.attached();
    await outbox.fill(1);
    await outbox.untilDelivered(1);
    const grown = growth(streamer);
    await outbox.postgres.query("INSERT INTO public.big VALUES (repeat('x', $1))", [160 * MIB]);
    await outbox.fill(1);
    await outbox.untilDelivered(2);
    expect(grown()).toBeLessThan(2 + BUSY_MB);
  });

  test('the streamer delivers events larger than a batch with at most three of them in memory (invariant 6)', async () => {
    await using outbox = await Outbox.create();
    const streamer = outbox.stream({ OUTBOX_BATCH_MAX_BYTES: '65536' });
    await streamer.attached();
    await outbox.fill(1);
    await outbox.untilDelivered(1);
    const grown = growth(streamer);
    const events = 20;
    await outbox.postgres.query(
      `INSERT INTO outbox.event (event_type, event_context) SELECT 'test.large', json_build_object('n', n, 'pad', repeat('x', $1)) FROM generate_series(1, $2::int) n`,
      [16 * MIB, events],
    );
    await outbox.untilDelivered(events + 1);
    expect(await outbox.delivered()).toEqual({ rows: events + 1, events: events + 1 });
    expect(grown()).toBeLessThan(3 * 16 + BUSY_MB);
  });
});
