import { ERRORS, type ErrorCode } from '../../../errors.ts';
import { toldOf } from '../../../schema-name.ts';
import { paint } from '../terminal.ts';
import type { FlowReport } from './report.ts';
import type { Reason } from '../../observe/reason.ts';

const OPEN_SECONDS = 60;

/** One screen. @param schema of the outbox */
export function printFlow(report: FlowReport, schema: string): string {
  const { slotName, table, at, flowing, reasons, warnings } = report;
  const verdict = flowing ? paint(['green', 'bold'], 'Events flow') : paint(['red', 'bold'], 'Events do not flow');
  const facts: [name: string, text: string][] = [
    ['streamer', streamerText(report)],
    ['delivered', deliveredText(report)],
    ['waiting', waitingText(report)],
    ['pending', pendingText(report)],
    ['slot', slotText(report)],
    ...openText(report),
    ['quarantine', quarantineText(report)],
    ['ClickHouse', clickhouseText(report)],
    ...sharesText(report),
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  return [
    `${verdict}  slot ${slotName} to table ${table}, ${at}`,
    '',
    ...facts.map(([name, text]) => `  ${paint('dim', name.padEnd(width))}  ${text}`),
    '',
    ...reasons.flatMap((reason) => reasonLines(reason, 'red', schema)),
    ...warnings.flatMap((reason) => reasonLines(reason, 'yellow', schema)),
  ].join('\n');
}

/** One line, for a log. */
export function printFlowLine({ at, flowing, lag, eventsPerSecond, reasons, warnings }: FlowReport): string {
  const facts = [
    flowing ? 'flows' : 'does not flow',
    `oldest ${lag === null || lag.seconds === null ? 'unknown' : `${lag.seconds} s`}`,
    `wal ${lag === null ? 'unknown' : size(lag.bytes)}`,
    `rate ${eventsPerSecond === null ? 'unknown' : `${eventsPerSecond}/s`}`,
    ...[...reasons, ...warnings].map(({ code }) => code),
  ];
  return `${at}  ${facts.join('  ')}\n`;
}

function reasonLines({ code, detail }: Reason, colour: 'red' | 'yellow', schema: string): string[] {
  return [`${paint(colour, code)}: ${detail}`, `  Next: ${toldOf(schema, ERRORS[code].next)}`, ''];
}

/** Of what Postgres alone knows. */
function isUnknown({ lag }: FlowReport): boolean {
  return lag === null;
}

function streamerText(report: FlowReport): string {
  const { streamer, repairing } = report;
  if (isUnknown(report)) return 'unknown';
  if (streamer === null) return repairing ? 'none: a repair has the slot' : 'none';
  const { walsender, backend, standbys } = streamer;
  const also = standbys === 0 ? 'nobody stands by' : `${standbys} standing by`;
  return `attached (walsender ${walsender}, ledger ${backend ?? 'none'}), ${also}`;
}

function deliveredText({ delivered, at, eventsPerSecond }: FlowReport): string {
  if (delivered === null) return 'unknown';
  const { position, committedAt, deliveredAt } = delivered;
  const last = committedAt === null ? '' : `, committed ${ago(committedAt, at)}, inserted ${ago(deliveredAt!, at)}`;
  const rate = eventsPerSecond === null ? '' : `, ${eventsPerSecond.toLocaleString('en-US')} events/s`;
  return `up to ${position}${last}${rate}`;
}

function waitingText({ lag }: FlowReport): string {
  if (lag === null) return 'unknown';
  const { seconds, bytes } = lag;
  const wal = bytes === 0 ? '' : `${size(bytes)} of WAL, other tables’ too`;
  if (seconds === null) return wal;
  if (lag.oldestAt === null) return bytes === 0 ? 'nothing' : `no event; ${wal}`;
  return `the oldest event for ${duration(seconds)}${wal === '' ? '' : `; ${wal}`}`;
}

function pendingText(report: FlowReport): string {
  const { pending, at } = report;
  if (isUnknown(report)) return 'unknown';
  return pending === null ? 'nothing' : `a batch of ${counted(pending.rows, 'row')}, begun ${ago(pending.since, at)}`;
}

function slotText(report: FlowReport): string {
  const { slot } = report;
  if (isUnknown(report)) return 'unknown';
  if (slot === null) return 'none that can be used';
  const { walStatus, safeWalBytes, runwayMinutes } = slot;
  if (safeWalBytes === undefined) return `${walStatus}, WAL without a limit`;
  const runway = runwayMinutes === undefined ? '' : `, ${duration(runwayMinutes * 60)} until it is used up`;
  return `${walStatus}, ${size(Math.max(0, safeWalBytes))} of WAL left${runway}`;
}

function quarantineText({ quarantined, reasons }: FlowReport): string {
  if (quarantined === null) return 'unknown';
  if (quarantined === 0) return 'empty';
  return `${counted(quarantined)}${reasons.some(({ code }) => code === 'OUTBOX_QUARANTINE_FULL') ? ': full' : ''}`;
}

/** What has just begun is nobody's concern. */
function openText({ oldestTransaction: oldest }: FlowReport): [name: string, text: string][] {
  if (oldest === null || oldest.seconds < OPEN_SECONDS) return [];
  return [['open', `a transaction for ${duration(oldest.seconds)}: ${oldest.what}`]];
}

function sharesText({ shares }: FlowReport): [name: string, text: string][] {
  return (shares ?? []).map(({ slot, streaming, waitingBytes, quarantined, ending }, index) => {
    const facts = [
      streaming ? 'streams' : 'no streamer',
      waitingBytes === 0 ? 'nothing waits' : `${size(waitingBytes)} of WAL wait`,
      ...(quarantined === 0 ? [] : [`${counted(quarantined)} in quarantine`]),
      ...(ending ? ['ends: others take over'] : []),
    ];
    return [index === 0 ? 'shares' : '', `${slot}: ${facts.join(', ')}`];
  });
}

/** Why ClickHouse says nothing of events, in a word; the code below says more. */
const SILENT: Partial<Record<ErrorCode, string>> = {
  OUTBOX_CH_AUTH: 'does not let in this user, or lets it see too little',
  OUTBOX_CH_NOT_MIGRATED: 'the table, or its database, does not exist',
  OUTBOX_CH_TABLE_DETACHED: 'the table is detached',
  OUTBOX_CH_UNREACHABLE: 'no answer',
  OUTBOX_FLOW_SLOW: 'slow',
};

function clickhouseText({ clickhouse, reasons, at }: FlowReport): string {
  if (clickhouse === null)
    // Postgres may be slow, too, and is told first
    return reasons.map(({ code }) => SILENT[code]).findLast((text) => text !== undefined) ?? 'unknown';
  const { version, lastPartAt, wokeInSeconds, replica } = clickhouse;
  const facts = [version, lastPartAt === null ? 'the table is empty' : `last part ${ago(lastPartAt, at)}`];
  if (wokeInSeconds !== null) facts.push(`it was idle, and woke in ${wokeInSeconds} s`);
  if (replica !== null) {
    const { replica: name, active, total, delaySeconds, queue } = replica;
    facts.push(
      `${active} of ${total} replicas, ${name} ${duration(delaySeconds)} behind with ${counted(queue, 'task')}`,
    );
  }
  return facts.join(', ');
}

function counted(number: number, what = 'event'): string {
  return `${number.toLocaleString('en-US')} ${what}${number === 1 ? '' : 's'}`;
}

function ago(then: string, now: string): string {
  return `${duration(Math.max(0, (Date.parse(now) - Date.parse(then)) / 1000))} ago`;
}

function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} h`
    : `${Math.round(seconds / 86_400).toLocaleString('en-US')} d`;
}

function size(bytes: number): string {
  if (bytes < 10_000) return `${bytes.toLocaleString('en-US')} B`;
  if (bytes < 10_000_000) return `${Math.round(bytes / 1000).toLocaleString('en-US')} kB`;
  return bytes < 10_000_000_000
    ? `${Math.round(bytes / 1e6).toLocaleString('en-US')} MB`
    : `${(bytes / 1e9).toFixed(1)} GB`;
}
