import { OutboxError } from '../../errors.ts';
import { rowsIn, type StoredRow } from '../statement.ts';
import type { PgTransaction } from '../transactions/pg.ts';
import type { RecordedEvent } from './event.ts';

/** A transaction of a recorder: it takes the INSERTs of events, and no other statement. */
export interface RecorderTransaction extends PgTransaction {
  /** Ends it: an event that is emitted later is refused with OUTBOX_NO_TRANSACTION, as with Postgres. */
  commit(): void;
  /** Ends it, and removes its events from the recorder. */
  rollback(): void;
}

/** Takes events instead of a database. */
export interface Recorder {
  /** All events that were emitted and not rolled back, in the order of the calls. Open transactions count. */
  readonly events: readonly RecordedEvent[];
  /** Opens a transaction, for code that takes one. */
  transaction(): RecorderTransaction;
  /** Runs the callback in a transaction. It commits when the callback resolves; otherwise it rolls back and rethrows. */
  transaction<T>(work: (tx: RecorderTransaction) => Promise<T>): Promise<T>;
  /** Forgets all events so far. */
  clear(): void;
}

/**
 * For unit tests without a database. `emitEvent` and every outbox take its transactions, with the same checks and the same
 * statement as for Postgres. It does not know what only Postgres can reject: a constraint, a missing table.
 */
export function createRecorder(): Recorder {
  let recorded: { readonly event: RecordedEvent; readonly tx: RecorderTransaction }[] = [];

  const begin = (): RecorderTransaction => {
    let isOpen = true;
    const tx: RecorderTransaction = {
      getTransactionStatus: () => (isOpen ? 'T' : 'I'),
      query: async (text, values) => {
        const rows = rowsIn(text, values);
        if (rows === undefined)
          throw new OutboxError('OUTBOX_TEST_UNSUPPORTED', {
            detail: 'The recorder takes no statement but emitEvent’s.',
          });
        if (!isOpen) throw new OutboxError('OUTBOX_NO_TRANSACTION');
        for (const row of rows) recorded.push({ event: eventOf(row), tx });
        return { rows: [], rowCount: rows.length };
      },
      commit: () => {
        isOpen = false;
      },
      rollback: () => {
        isOpen = false;
        recorded = recorded.filter((one) => one.tx !== tx);
      },
    };
    return tx;
  };

  const within = async <T>(work: (tx: RecorderTransaction) => Promise<T>): Promise<T> => {
    const tx = begin();
    try {
      const result = await work(tx);
      tx.commit();
      return result;
    } catch (error) {
      tx.rollback();
      throw error;
    }
  };

  return {
    get events() {
      return recorded.map(({ event }) => event);
    },
    transaction: ((work?: (tx: RecorderTransaction) => Promise<unknown>) =>
      work === undefined ? begin() : within(work)) as Recorder['transaction'],
    clear: () => {
      recorded = [];
    },
  };
}

function eventOf({
  id,
  type,
  context,
  time,
  environment,
  metadataVersion,
  subject,
  traceparent,
}: StoredRow): RecordedEvent {
  return {
    id,
    type,
    context: JSON.parse(context) as Record<string, unknown>,
    time: new Date(time),
    environment,
    metadataVersion,
    subject,
    traceparent,
  };
}
