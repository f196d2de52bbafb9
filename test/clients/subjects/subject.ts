import type { Transaction } from '../../../src/app/index.ts';

/** An open transaction of a client, and what the tests do in it besides emitting. */
export interface Opened {
  readonly tx: Transaction;
  /** Runs a statement without parameters. */
  readonly run: (sql: string) => PromiseLike<unknown>;
  /** A nested transaction, which is rolled back when `work` rejects. */
  readonly nested: (work: (inner: Opened) => Promise<void>) => Promise<unknown>;
}

/** A client of users under test. */
export interface Subject {
  /** The recipe of docs/clients.md: stores an order and emits `order.placed`. */
  readonly placeOrder: (order: Order) => Promise<void>;
  /** Commits when `work` resolves, rolls back when it rejects. */
  readonly transaction: (work: (opened: Opened) => Promise<void>) => Promise<unknown>;
  /** Values that are no open transaction of this client, each with a name and what the error says of it. */
  readonly refused: readonly [name: string, given: unknown, says: RegExp][];
  readonly close: () => Promise<unknown>;
}

export interface Order {
  readonly id: string;
  readonly amount: number;
}

/** What a client shows to the library. */
export interface Told {
  /** That the transaction has failed, before the INSERT is sent. */
  readonly failed: boolean;
  /** That the transaction has ended. */
  readonly over: boolean;
}

export interface Client {
  readonly name: string;
  readonly tells: Told;
  /** Ends a transaction by itself when its connection is lost, and breaks the process when it is then asked to roll back. */
  readonly diesWithConnection?: true;
  readonly connect: (url: string) => Promise<Subject>;
}

/** For a client without nested transactions of its own. */
export function withSavepoints(tx: Transaction, run: Opened['run']): Opened {
  const opened: Opened = {
    tx,
    run,
    nested: async (work) => {
      await run('SAVEPOINT nested');
      await work(opened).catch(async (error: unknown) => {
        await run('ROLLBACK TO SAVEPOINT nested');
        throw error;
      });
    },
  };
  return opened;
}
