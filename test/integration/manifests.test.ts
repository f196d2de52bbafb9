import { expect, test } from 'vitest';
import { readConfig } from '../../src/streamer/config.ts';
import { Manifests, type ManifestsReport } from '../../src/streamer/manifests/manifests.ts';
import type { Manifest } from '../../src/streamer/manifests/manifest.ts';
import { Outbox } from '../support/outbox.ts';

const OFF = { OUTBOX_RETENTION_DAYS: '0' };

function environment(outbox: Outbox): Record<string, string> {
  return { DATABASE_URL: outbox.databaseUrl, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot };
}

/** Events of so many hours ago, as if they had been emitted then; the n-th has the id 00000000-0000-0000-<hours>-<n>. */
async function fillHoursAgo(outbox: Outbox, hours: number, count: number, first = 0): Promise<void> {
  await outbox.postgres.query(
    `INSERT INTO outbox.event (event_id, event_type, event_context, recorded_at, bucket)
     SELECT (lpad($1::text, 20, '0') || lpad(n::text, 12, '0'))::uuid, 'hour.' || $1, json_build_object('n', n), at, (extract(epoch FROM at)::bigint / 86400) % 32
       FROM generate_series($3::int, $3::int + $2::int - 1) n, LATERAL (SELECT date_trunc('hour', now()) - make_interval(hours => $1::int) + n * interval '1 ms' AS at) t`,
    [hours, count, first],
  );
}

interface Made extends ManifestsReport {
  readonly manifests: readonly Manifest[];
}

/** One run of the job, by a process that has run before or not. */
async function make(outbox: Outbox, job = new Manifests(readConfig(environment(outbox)))): Promise<Made> {
  const manifests: Manifest[] = [];
  const signal = new AbortController().signal;
  const report = await job.run({ signal, waitMs: 60_000, onMade: (manifest) => manifests.push(manifest) });
  return { ...report, manifests };
}

/** An outbox whose streamer has delivered events of two hours. */
async function delivered(): Promise<Outbox> {
  const outbox = await Outbox.create();
  await outbox.stream(OFF).attached();
  await fillHoursAgo(outbox, 3, 300);
  await fillHoursAgo(outbox, 2, 200);
  await outbox.untilDelivered(500);
  return outbox;
}

test.concurrent('each closed hour has one manifest in both databases, in a chain, and a second run makes no other', async () => {
  await using outbox = await delivered();
  const { manifests, trouble } = await make(outbox);
  expect(trouble).toBeUndefined();
  expect(manifests).toMatchObject([
    { number: 1, part: 1, events: 300, added: [], absent: [], previous: '0'.repeat(64) },
    { number: 2, part: 1, events: 200, previous: manifests[0]!.hash },
  ]);
  expect((await make(outbox)).made).toBe(0);
  expect(await outbox.select('SELECT number, events, hash FROM events_manifests ORDER BY number')).toEqual(
    manifests.map(({ number, events, hash }) => ({ number, events, hash })),
  );
});
