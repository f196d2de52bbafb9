import { countOf, hasMethods, type Method, notOpen, plain, type Refusal, refused, type Send } from './client.ts';

/** The part of Kysely's CompiledQuery that its drivers and plugins use. */
interface CompiledQuery {
  readonly query: {
    readonly kind: 'RawNode';
    readonly sqlFragments: readonly string[];
    readonly parameters: readonly never[];
  };
  readonly queryId: { readonly queryId: string };
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** The `trx` of Kysely's `db.transaction().execute((trx) => …)`, or a controlled transaction. A database is not one. */
export interface KyselyTransaction {
  readonly isTransaction: true;
  executeQuery(query: CompiledQuery): Promise<unknown>;
}

const A_DATABASE = 'a database of Kysely: pass the trx of its transaction().execute((trx) => …)';
export interface KyselyDatabase extends Refusal<typeof A_DATABASE> {
  readonly isTransaction: boolean;
  readonly executeQuery: Method;
  readonly getExecutor: Method;
}

/** The parameters are not hidden: only node-postgres calls `toPostgres`, and Kysely does not show its driver. */
export function openKysely(tx: unknown): Send | undefined {
  if (!hasMethods(tx, 'executeQuery', 'getExecutor') || !('isTransaction' in tx)) return undefined;
  if (tx.isTransaction !== true) throw refused(A_DATABASE);
  const { isCommitted, isRolledBack } = tx as { isCommitted?: boolean; isRolledBack?: boolean };
  if (isCommitted === true || isRolledBack === true) throw notOpen();
  return sendByKysely(tx as unknown as KyselyTransaction);
}

function sendByKysely(tx: KyselyTransaction): Send {
  return async (statement) => {
    try {
      const result = await tx.executeQuery({
        query: { kind: 'RawNode', sqlFragments: [statement.text], parameters: [] },
        queryId: { queryId: 'outbox' },
        sql: statement.text,
        parameters: plain(statement),
      });
      return countOf(result, 'numAffectedRows');
    } catch (error) {
      // Kysely throws this before it sends anything, when the transaction has ended.
      if (error instanceof Error && error.message.startsWith('Transaction is already ')) throw notOpen();
      throw error;
    }
  };
}
