import { afterEach, expect, test } from 'vitest';
import { OutboxError } from '../../errors.ts';
import { startMetering, type Metering } from './meter.ts';
import { METRICS } from './metrics-table.ts';
import { prometheusLabel, prometheusName } from './metrics.ts';
import { Readiness } from '../observe/readiness.ts';

const SLOT = {
  confirmedLsn: 100,
  isSynced: false,
  activePid: 1,
  walStatus: 'reserved',
  safeWalBytes: 1e9,
  retainedBytes: 7,
  unconfirmedBytes: 5,
  walBytesPerSecond: 0,
};
let metering: Metering | undefined;

afterEach(async () => metering?.stop());

async function scrape(readiness: Readiness): Promise<string> {
  metering = await startMetering(readiness, 'my_slot', undefined, {});
  return metering.text();
}

/** The value of a series, by the text before it; undefined when there is none. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

/** A readiness that knows all there is to know. */
function busy(): Readiness {
  const readiness = new Readiness();
  const { measures } = readiness;
  measures.slot = SLOT;
  readiness.slotSeen({ walStatus: 'reserved', safeWalBytes: 1e9, runwayMinutes: 3, endangered: true });
  readiness.streaming();
  readiness.clickhouseAnswered();
  readiness.retentionRan({ ranAt: 1, emptied: 2, rows: 3, bytes: 4, oldestAt: 5, problem: 'OUTBOX_RETENTION_HELD' });
  measures.quarantined = 2;
  measures.openSeconds = 7;
  measures.parts = 4;
  measures.replica = { state: 'no Keeper', total: 3, active: 2, delaySeconds: 5, queue: 6, lostParts: 7 };
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
  return readiness;
}

test('startMetering exports every series of METRICS and no other, each with the slot', async () => {
  const text = await scrape(busy());
  const expected = METRICS.filter(({ read }) => read !== undefined).flatMap((metric) => {
    const { attributes = {}, kind } = metric;
    const name = `${prometheusName(metric)}${kind === 'histogram' ? '_count' : ''}`;
    const labels = Object.entries(attributes).reduce<readonly string[]>(
      (lines, [attribute, values]) =>
        lines.flatMap((line) => values.map((value) => `${line}${prometheusLabel(attribute)}="${value}",`)),
      [''],
    );
    return labels.map((line) => `${name}{${line}outbox_slot="my_slot"}`);
  });
  const there = text.split('\n').flatMap((line) => /^(?:db|outbox|process)_.*?\}/.exec(line) ?? []);
  const countsAndNumbers = there.filter((series) => !/_(?:bucket|sum)\{/.test(series));
  expect(new Set(countsAndNumbers)).toEqual(new Set(expected));
  expect(countsAndNumbers).toHaveLength(expected.length);
});

test('startMetering exports histograms as they were counted', async () => {
  const text = await scrape(busy());
  const bucket = (le: string): number | undefined =>
    valueOf(text, `outbox_freshness_seconds_bucket{outbox_slot="my_slot",le="${le}"}`);
  expect([bucket('0.2'), bucket('0.5'), bucket('60'), bucket('120'), bucket('+Inf')]).toEqual([0, 5, 5, 6, 6]);
  expect(valueOf(text, 'outbox_freshness_seconds_count{outbox_slot="my_slot"}')).toBe(6);
  expect(valueOf(text, 'outbox_freshness_seconds_sum{outbox_slot="my_slot"}')).toBeCloseTo(101.5);
  expect(text).toContain('# TYPE outbox_freshness_seconds histogram');
  expect(text).toContain('# TYPE outbox_events_total counter');
});

test('startMetering exports WAL positions exactly', async () => {
  const text = await scrape(busy());
  expect(valueOf(text, 'outbox_ledger_position_bytes{position="delivered",outbox_slot="my_slot"}')).toBe(
    0x16_b374_d848,
  );
});

test('startMetering omits what is not known', async () => {
  const text = await scrape(new Readiness());
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

test('startMetering shows a slot that is missing, and counts the session that failed', async () => {
  const readiness = busy();
  readiness.notStreaming(new OutboxError('OUTBOX_SLOT_MISSING'));
  const text = await scrape(readiness);
  expect(valueOf(text, 'outbox_slot_state{state="missing",outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_slot_state{state="reserved",outbox_slot="my_slot"}')).toBe(0);
  expect(valueOf(text, 'outbox_stream_state{state="not_streaming",outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_reconnects_total{error_type="OUTBOX_SLOT_MISSING",outbox_slot="my_slot"}')).toBe(1);
});

test('startMetering drops what only the holder knows when the streamer is demoted, and still shows the slot', async () => {
  const readiness = busy();
  const gone = [
    'outbox_lag_duration_seconds',
    'outbox_ledger_position_bytes',
    'outbox_ledger_epoch',
    'outbox_buffer_events',
    'outbox_quarantine_events',
    'outbox_transactions_oldest_seconds',
    'outbox_clickhouse_parts',
    'outbox_clickhouse_writable',
    'outbox_retention_held',
    'outbox_retention_events',
  ];
  const there = (text: string): string[] => gone.filter((name) => text.includes(`${name}{`));
  expect(there(await scrape(readiness))).toEqual(gone);
  readiness.measures.detached();
  readiness.notStreaming(new OutboxError('OUTBOX_EPOCH_LOST'));
  expect(there(await metering!.text())).toEqual([]);
  readiness.standingBy();
  readiness.retentionRan({ ranAt: 1, emptied: 2, rows: 3, bytes: 4, oldestAt: 5, problem: 'OUTBOX_RETENTION_HELD' });
  const text = await metering!.text();
  expect(there(text)).toEqual([]);
  expect(valueOf(text, 'outbox_lag_size_bytes{outbox_slot="my_slot"}')).toBe(5);
  expect(valueOf(text, 'outbox_slot_endangered{outbox_slot="my_slot"}')).toBe(1);
  expect(valueOf(text, 'outbox_slot_runway_seconds{outbox_slot="my_slot"}')).toBe(180);
});

test('startMetering omits slot and lag when nobody can check the slot', async () => {
  const readiness = busy();
  for (let sessions = 0; sessions < 2; sessions++) {
    readiness.measures.detached();
    readiness.notStreaming(new OutboxError('OUTBOX_PG_UNREACHABLE'));
  }
  expect(await scrape(readiness)).not.toMatch(/outbox_(slot|lag)_\w+\{/);
});

test('startMetering has no series for error codes that are never counted', async () => {
  const text = await scrape(new Readiness());
  expect(text).toContain('error_type="OUTBOX_SLOT_INVALID"');
  expect(text).toContain('error_type="OUTBOX_CH_VIEW_FAILED"');
  expect(text).not.toMatch(/error_type="OUTBOX_(SLOT_BUSY|SLOT_ENDANGERED|CH_VIEWS_UNPROVEN|REPAIR_WINDOW)"/);
});
