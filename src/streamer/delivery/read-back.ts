import { setTimeout as sleep } from 'node:timers/promises';
import { OutboxError } from '../../errors.ts';
import type { Batch } from '../batch/batch.ts';
import { eventIdOf, positionOf } from '../batch/event.ts';
import { countRows, runsOf, type Rows } from '../batch/rows.ts';
import { whereCurrent, type Parts } from '../clickhouse/current.ts';
import { comparePositions } from '../../position.ts';
import { LogThrottle } from '../observe/log-throttle.ts';
import type { Attachment } from './attachment.ts';

/** A batch has so many rows that more time than this is not needed to send them. */
const ANSWER_MS = 120_000;
const RANGE = `source = {source:String} AND lsn >= {fromLsn:UInt64} AND lsn <= {toLsn:UInt64}
          AND (lsn, seq) >= ({fromLsn:UInt64}, {fromSeq:UInt64}) AND (lsn, seq) <= ({toLsn:UInt64}, {toSeq:UInt64})`;
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
  async count(batch: Batch, rows: Rows, parts?: Parts): Promise<number> {
    return rows.to - rows.from - countRows(await this.absent(batch, rows, parts));
  }

  /** Which of some rows of a batch are not in the table, by event id and position. */
  async absent(batch: Batch, rows: Rows, parts?: Parts): Promise<Rows[]> {
    const { clickhouse, table, source, signal } = this.#attachment;
    const first = positionOf(batch, rows.from);
    const last = positionOf(batch, rows.to - 1);
    const range = { table, source, fromLsn: first.lsn, fromSeq: first.seq, toLsn: last.lsn, toSeq: last.seq };
    const current = await whereCurrent(clickhouse, table, signal, parts);
    // rows that an answer which was cut short does not have must not seem to be absent
    const [counted] = await clickhouse.select<{ n: number }>(
      `SELECT toUInt32(count()) AS n FROM {table:Identifier} WHERE ${RANGE} AND ${current}`,
      range,
      signal,
    );
    if (counted!.n === 0) return [rows];
    const there = new Uint8Array(rows.to - rows.from);
    let row = rows.from;
    let seen = 0;
    // both are in the order of positions, so that neither is ever held as a whole beside the other
    const found = clickhouse.stream<{ id: string; at_lsn: string; at_seq: number }>(
      `SELECT toString(event_id) AS id, toString(lsn) AS at_lsn, seq AS at_seq FROM {table:Identifier}
        WHERE ${RANGE} AND ${current} ORDER BY lsn, seq`,
      range,
      AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    );
    for await (const chunk of found) {
      seen += chunk.length;
      for (const { id, at_lsn: lsn, at_seq: seq } of chunk) {
        const position = { lsn: Number(lsn), seq };
        while (row < rows.to && comparePositions(positionOf(batch, row), position) < 0) row++;
        // a position may hold rows of an undone timeline as well
        if (row < rows.to && comparePositions(positionOf(batch, row), position) === 0 && eventIdOf(batch, row) === id)
          there[row - rows.from] = 1;
      }
    }
    if (seen < counted!.n)
      throw new OutboxError('OUTBOX_CH_ANSWER', { detail: `${seen} of ${counted!.n} rows were read back` });
    return runsOf(rows, (candidate) => there[candidate - rows.from] === 0);
  }

  async #pause(ms: number, purpose: string): Promise<void> {
    const { signal, stop } = this.#attachment;
    await sleep(ms, undefined, { signal: AbortSignal.any([signal, stop]) }).catch(() => undefined);
    signal.throwIfAborted();
    if (stop.aborted) throw new OutboxError('OUTBOX_CH_UNAVAILABLE', { detail: `stopped before ${purpose}` });
  }
}
