import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { Batch } from '../batch/batch.ts';
import { eventIdOf, positionOf } from '../batch/event.ts';
import { countRows, runsOf, type Rows } from '../batch/rows.ts';
import { LogThrottle } from '../observe/log-throttle.ts';
import type { Attachment } from './attachment.ts';

const RUNNING_POLL_MS = 500;
/** An insert that is given up is mostly gone by then. */
const RUNNING_LONG_MS = 5000;

/** Asks ClickHouse what it holds, where neither the ledger nor a token can tell. */
export class ReadBack {
  readonly #attachment: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'signal' | 'stop'>;
  readonly #kind: Attachment['origin'] | 'any';

  /** @param kind whose inserts are waited for */
  constructor(
    attachment: Pick<Attachment, 'clickhouse' | 'table' | 'source' | 'log' | 'signal' | 'stop'>,
    kind: Attachment['origin'] | 'any',
  ) {
    this.#attachment = attachment;
    this.#kind = kind;
  }

  /**
   * Waits until no insert of this source can be under way: until `quietAt` (of performance.now()), after which the last one
   * has outlived its time, and then for those that a server still shows, because a former holder may have had more time.
   * Throws OUTBOX_CH_UNAVAILABLE when a stop is asked for before that, and so before `purpose`.
   */
  async quiet(quietAt: number, purpose: string): Promise<void> {
    const { clickhouse, source, log, signal } = this.#attachment;
    const waitMs = Math.max(0, Math.round(quietAt - performance.now()));
    if (waitMs > 0) {
      log.warn({ waitMs }, 'waiting until no earlier insert can be under way');
      await this.#pause(waitMs, purpose);
    }
    const throttle = new LogThrottle();
    const began = performance.now();
    for (;;) {
      const [running] = await clickhouse.select<{ n: string }>(
        `SELECT toString(count()) AS n FROM system.processes
          WHERE startsWith(query_id, {source:String}) AND NOT startsWith(query_id, concat({source:String}, 'quarantine/'))
            AND ({kind:String} = 'any' OR startsWith(query_id, concat({source:String}, 'repair/')) = ({kind:String} = 'repair'))`,
        { source: `${source}/`, kind: this.#kind },
        signal,
      );
      if (running?.n === '0') return;
      const waitedMs = Math.round(performance.now() - began);
      if (waitedMs > RUNNING_LONG_MS && throttle.level('running') !== 'debug')
        log.warn({ inserts: Number(running?.n), waitedMs }, 'waiting for earlier inserts that ClickHouse still runs');
      await this.#pause(RUNNING_POLL_MS, purpose);
    }
  }

  /** How many of some rows of a batch are in the table. */
  async count(batch: Batch, rows: Rows): Promise<number> {
    return rows.to - rows.from - countRows(await this.absent(batch, rows));
  }

  /** Which of some rows of a batch are not in the table, by event id and position. */
  async absent(batch: Batch, rows: Rows): Promise<Rows[]> {
    const [counted] = await this.#select<{ rows: string }>('toString(count()) AS rows', batch, rows);
    if (counted!.rows === '0') return [rows];
    const key = (id: string, lsn: string | number, seq: string | number): string => `${id} ${lsn} ${seq}`;
    const found = await this.#select<{ id: string; at_lsn: string; at_seq: string }>(
      'toString(event_id) AS id, toString(lsn) AS at_lsn, toString(seq) AS at_seq',
      batch,
      rows,
    );
    const there = new Set(found.map((row) => key(row.id, row.at_lsn, row.at_seq)));
    return runsOf(rows, (row) => {
      const { lsn, seq } = positionOf(batch, row);
      return !there.has(key(eventIdOf(batch, row), lsn, seq));
    });
  }

  async #select<Row>(what: string, batch: Batch, rows: Rows): Promise<Row[]> {
    const { clickhouse, table, source, signal } = this.#attachment;
    const first = positionOf(batch, rows.from);
    const last = positionOf(batch, rows.to - 1);
    return clickhouse.select<Row>(
      `SELECT ${what} FROM {table:Identifier}
        WHERE source = {source:String} AND lsn >= {fromLsn:UInt64} AND lsn <= {toLsn:UInt64}
          AND (lsn, seq) >= ({fromLsn:UInt64}, {fromSeq:UInt64}) AND (lsn, seq) <= ({toLsn:UInt64}, {toSeq:UInt64})`,
      { table, source, fromLsn: first.lsn, fromSeq: first.seq, toLsn: last.lsn, toSeq: last.seq },
      signal,
    );
  }

  async #pause(ms: number, purpose: string): Promise<void> {
    const { signal, stop } = this.#attachment;
    await sleep(ms, undefined, { signal: AbortSignal.any([signal, stop]) }).catch(() => undefined);
    signal.throwIfAborted();
    if (stop.aborted) throw new OutboxError('OUTBOX_CH_UNAVAILABLE', { detail: `stopped before ${purpose}` });
  }
}
