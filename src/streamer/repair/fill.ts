import type { Lsn } from '../../lsn.ts';
import { KINDS, type Kind } from '../compare/classify.ts';
import { Comparison, type ComparisonOptions } from '../compare/comparison.ts';
import { IdList } from '../compare/id-list.ts';
import type { OutboxSnapshot } from '../compare/outbox.ts';
import { TableView } from '../compare/table.ts';
import type { Config } from '../config.ts';
import type { ClickHouse } from '../clickhouse/client.ts';
import { createLogger } from '../observe/log.ts';
import { Readiness } from '../observe/readiness.ts';
import { refuseDetached } from './detached.ts';
import { refuseOtherSource } from './other-source.ts';
import { RepairLedger, type RepairLedgerOptions } from './repair-ledger.ts';
import { Sender } from './sender.ts';

/** Events that are fetched together. */
const MAX_WANTED = 50_000;
/** A repair is ended by killing it. */
export const NEVER: AbortSignal = new AbortController().signal;

export interface FillOptions {
  readonly config: Config;
  readonly comparing: ComparisonOptions;
  readonly snapshot: OutboxSnapshot;
  /** With the deadline of an insert. */
  readonly inserting: ClickHouse;
  /** Right before it the repaired events are given their positions. */
  readonly lsn: Lsn;
  readonly timeline: number;
  /** Makes sure that no other repair can be under way. */
  readonly prove: () => Promise<void>;
  /** Of the ledger, see there. */
  readonly record: RepairLedgerOptions['record'];
  /** Counts, and sends nothing. */
  readonly isDry: boolean;
  /** Sends events, too, that ClickHouse has under another source, or may have in detached parts. */
  readonly sendsAgain: boolean;
  /** Is called before events are sent. */
  readonly onSend: () => void;
}

/** What was found, and what was done about it, in events. */
export interface Filled {
  readonly missing: number;
  readonly sent: number;
  readonly quarantined: number;
  /** Found on the way, and left alone. */
  readonly altered: number;
  readonly double: number;
  readonly extra: number;
  /** Events that were not compared: other slots deliver them, before or after `reshard`. */
  readonly ofFormers: number;
}

/** Compares a snapshot with ClickHouse, sends what is missing, and closes the snapshot. Throws OUTBOX_REPAIR_OTHER_SOURCE, OUTBOX_CH_PARTS_DETACHED. */
export async function fill({
  comparing,
  snapshot,
  isDry,
  sendsAgain,
  onSend,
  ...options
}: FillOptions): Promise<Filled> {
  const sender = senderOf(options, comparing);
  const counts = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<Kind, number>;
  /** How many are missing of each event, by id and digest. */
  const wanted = new Map<string, number>();
  const ids = new IdList(MAX_WANTED);
  let oldestMs = Infinity;
  const table = await TableView.open(comparing, snapshot.horizon);
  const send = async (): Promise<void> => {
    if (wanted.size === 0) return;
    if (!sendsAgain) {
      await refuseDetached(comparing.clickhouse, comparing.table, oldestMs);
      await refuseOtherSource(table, comparing.source, ids, (id, digest) => wanted.has(`${id} ${digest}`));
    }
    if (!isDry) onSend();
    for await (const events of isDry ? [] : snapshot.events(ids)) {
      for (const event of events) {
        const key = `${event.id} ${event.digest}`;
        const copies = wanted.get(key) ?? 0;
        if (copies === 0) continue;
        wanted.set(key, copies - 1);
        await sender.add(event, copies);
      }
    }
    wanted.clear();
    ids.clear();
  };
  const comparison = new Comparison(comparing, snapshot);
  for await (const { kind, id, count, outbox } of comparison.differences()) {
    counts[kind] += count;
    if (kind !== 'missing') continue;
    // an id that two missing events share is told twice in a row
    if (id !== ids.last) ids.add(id);
    wanted.set(`${id} ${outbox!.digest}`, count);
    oldestMs = Math.min(oldestMs, Number(outbox!.recorded) / 1000);
    if (wanted.size >= MAX_WANTED) await send();
  }
  await send();
  await sender.flush();
  await snapshot.close();
  const { missing, altered, double, extra } = counts;
  const { sent, quarantined } = sender;
  const { ofFormers } = comparison.totals;
  return { missing, sent, quarantined, altered, double, extra, ofFormers };
}

function senderOf(
  {
    config,
    inserting,
    lsn,
    timeline,
    prove,
    record,
  }: Omit<FillOptions, 'comparing' | 'snapshot' | 'isDry' | 'sendsAgain' | 'onSend'>,
  { ask, source }: ComparisonOptions,
): Sender {
  const ledger = new RepairLedger({
    db: ask,
    slot: config.slot,
    timeline,
    // records begin at multiples of eight: no event of the stream stands there
    from: { lsn: lsn - 1, seq: 0 },
    prove,
    record,
  });
  return new Sender({
    config,
    clickhouse: inserting,
    ledger,
    table: config.clickhouseTable,
    source,
    origin: 'repair',
    log: createLogger({ level: config.logLevel, schema: config.schema }, process.stderr),
    readiness: new Readiness(),
    signal: NEVER,
    stop: NEVER,
  });
}
