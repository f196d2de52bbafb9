import { afterEach, expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { startMetering } from './meter.ts';
import type { Metering } from './meter.ts';
import { METRICS } from './metrics-table.ts';
import { prometheusLabel, prometheusName } from './metrics.ts';
import { Status } from './status.ts';

const SLOT = {
  confirmedLsn: 100,
  isSynced: false,
  activePid: 1,
  walStatus: 'reserved',
  safeWalBytes: 1e9,
  retainedBytes: 7,
  unconfirmedBytes: 5,
};
let metering: Metering | undefined;

afterEach(async () => metering?.stop());

async function scrape(status: Status): Promise<string> {
  metering = await startMetering(status, 'my_slot', undefined, {});
  return metering.text();
}

/** The value of a series, by the text before it; undefined when there is none. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

/** All that can be known is known. */
function busy(): Status {
  const status = new Status();
  const { measures } = status;
  measures.slot = SLOT;
  status.slotSeen(
    { walStatus: 'reserved', safeWalBytes: 1e9, runwayMinutes: 3, endangered: true },
    { bytes: 5, ms: 0 },
  );
  status.clickhouseAnswered();
  status.retained({ ranAt: 1, emptied: 2, rows: 3, bytes: 4, oldestAt: 5, problem: 'OUTBOX_RETENTION_HELD' });
  measures.quarantined = 2;
  measures.parts = 4;
  measures.freshness.add(0.3, 5);
  measures.freshness.add(100);
  measures.attached(() => ({
    bufferedEvents: 1,
    bufferedBytes: 2,
    oldestSeconds: undefined,
    lagBytes: 3,
    deliveredLsn: 0x16_b374_d848,
    ackedLsn: 5,
    epoch: 6,
  }));
  status.streaming();
  return status;
}

test('every series of the table is there, and no other, each with the slot', async () => {
  const text = await scrape(busy());
  const expected = METRICS.filter(({ read }) => read !== undefined).flatMap((metric) => {
    const { attributes = {}, kind } = metric;
    const [[attribute, values] = ['', ['']]] = Object.entries(attributes);
    const name = `${prometheusName(metric)}${kind === 'histogram' ? '_count' : ''}`;
    const label = (value: string): string => (attribute === '' ? '' : `${prometheusLabel(attribute)}="${value}",`);
    return values.map((value) => `${name}{${label(value)}outbox_slot="my_slot"}`);
  });
  const there = text.split('\n').flatMap((line) => /^(?:outbox|process)_.*?\}/.exec(line) ?? []);
  const countsAndNumbers = there.filter((series) => !/_(?:bucket|sum)\{/.test(series));
  expect(new Set(countsAndNumbers)).toEqual(new Set(expected));
  expect(countsAndNumbers).toHaveLength(expected.length);
});

test('histograms are what was counted', async () => {
  const text = await scrape(busy());
  const bucket = (le: string): number | undefined =>
    valueOf(text, `outbox_freshness_seconds_bucket{outbox_slot="my_slot",le="${le}"}`);
  expect([bucket('0.2'), bucket('0.5'), bucket('60'), bucket('120'), bucket('+Inf')]).toEqual([0, 5, 5, 6, 6]);
  expect(valueOf(text, 'outbox_freshness_seconds_count{outbox_slot="my_slot"}')).toBe(6);
  expect(valueOf(text, 'outbox_freshness_seconds_sum{outbox_slot="my_slot"}')).toBeCloseTo(101.5);
  expect(text).toContain('# TYPE outbox_freshness_seconds histogram');
  expect(text).toContain('# TYPE outbox_events_total counter');
});

test('positions of WAL are exact', async () => {
  const text = await scrape(busy());
  expect(valueOf(text, 'outbox_ledger_position_bytes{position="delivered",outbox_slot="my_slot"}')).toBe(
    0x16_b374_d848,
  );
});

test('what is not known is not said', async () => {
  const text = await scrape(new Status());
  for (const name of [
    'outbox_lag_duration_seconds',
    'outbox_slot_state',
    'outbox_clickhouse_writable',
    'outbox_quarantine_events',
  ])
    expect(text).not.toContain(`${name}{`);
  expect(valueOf(text, 'outbox_stream_state{state="starting",outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_events_total{outcome="delivered",outbox_slot="my_slot"}')).toBe(0);
});

test('a slot that is gone, and a session that failed', async () => {
  const status = busy();
  status.notStreaming(new OutboxError('OUTBOX_SLOT_MISSING'));
  const text = await scrape(status);
  expect(valueOf(text, 'outbox_slot_state{state="missing",outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_slot_state{state="reserved",outbox_slot="my_slot"}')).toBe(0);
  expect(valueOf(text, 'outbox_stream_state{state="not_streaming",outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_reconnects_total{error_type="OUTBOX_SLOT_MISSING",outbox_slot="my_slot"}')).toBe(1);
});

test('the lag goes on growing while Postgres is away, and a standby has none of its own', async () => {
  const status = busy();
  const oldestSeconds = Date.now() / 1000 - 50;
  status.measures.attached(() => ({
    bufferedEvents: 1,
    bufferedBytes: 2,
    oldestSeconds,
    lagBytes: 3,
    deliveredLsn: 1,
    ackedLsn: 1,
    epoch: 1,
  }));
  status.measures.detached();
  status.notStreaming(new OutboxError('OUTBOX_PG_UNREACHABLE'));
  const lag = 'outbox_lag_duration_seconds{outbox_slot="my_slot"}';
  expect(valueOf(await scrape(status), lag)).toBeGreaterThanOrEqual(50);
  status.standingBy();
  const text = await metering!.text();
  expect(valueOf(text, lag)).toBeUndefined();
  expect(valueOf(text, 'outbox_lag_size_bytes{outbox_slot="my_slot"}')).toBe(5);
});
