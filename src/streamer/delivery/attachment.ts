import type { ClickHouse } from '../clickhouse/client.ts';
import type { Config } from '../config.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Logger } from '../observe/log.ts';
import type { Readiness } from '../observe/readiness.ts';

/** What delivery works with while a session, or a repair, holds the ledger. Made once, handed to all parts. */
export interface Attachment {
  readonly config: Pick<Config, 'insertTimeoutMs' | 'quarantineMaxRows' | 'retryMaxMs'>;
  readonly clickhouse: ClickHouse;
  readonly ledger: DeliveryLedger;
  /** ClickHouse's table of events. */
  readonly table: string;
  /** ClickHouse's column `source`: system identifier and slot. */
  readonly source: string;
  /** ClickHouse's column `origin`. */
  readonly origin: 'stream' | 'repair';
  readonly log: Logger;
  readonly readiness: Readiness;
  /** The attachment is over: everything that waits is aborted. */
  readonly signal: AbortSignal;
  /** A graceful stop: the answer that is under way is awaited, but nothing is repeated. The next start does it. */
  readonly stop: AbortSignal;
}

/** What delivery asks of a ledger. */
export type DeliveryLedger = Pick<
  Ledger,
  | 'epoch'
  | 'timeline'
  | 'state'
  | 'provenAt'
  | 'prove'
  | 'intend'
  | 'split'
  | 'quarantine'
  | 'quarantined'
  | 'readBackUpTo'
  | 'deliverInto'
  | 'readBackDownTo'
  | 'tellRefusal'
>;
