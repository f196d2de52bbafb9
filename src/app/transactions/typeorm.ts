import { sendByLent } from './connections.ts';
import { hasMethods, type Method, notOpen, type Refusal, refused, type Send } from './client.ts';

/** A QueryRunner of TypeORM between `startTransaction()` and its end, with the driver postgres. */
export interface TypeOrmQueryRunner {
  readonly isTransactionActive: boolean;
  connect(): Promise<unknown>;
  startTransaction(): Promise<void>;
}

/**
 * The `manager` of TypeORM's `dataSource.transaction((manager) => …)`, with the driver postgres, also a nested one.
 * `dataSource.manager` has the same type, but no transaction: it is refused at run time. TypeScript rejects a DataSource.
 */
export interface TypeOrmTransaction {
  readonly queryRunner?: TypeOrmQueryRunner;
  release(): Promise<void>;
  save(entity: never): Promise<unknown>;
}

const A_DATA_SOURCE = 'a DataSource of TypeORM: pass the manager of its transaction((manager) => …)';
export interface TypeOrmDataSource extends Refusal<typeof A_DATA_SOURCE> {
  readonly createQueryRunner: Method;
  readonly manager: unknown;
  readonly transaction: Method;
}

export function openTypeOrm(tx: unknown): Send | undefined {
  if (hasMethods(tx, 'startTransaction', 'connect') && 'isTransactionActive' in tx)
    return sendByRunner(tx as unknown as TypeOrmQueryRunner);
  if (hasMethods(tx, 'createQueryRunner')) throw refused(A_DATA_SOURCE);
  if (!hasMethods(tx, 'release', 'save', 'transaction')) return undefined;
  const { queryRunner } = tx as TypeOrmTransaction;
  if (queryRunner === undefined)
    throw refused('the EntityManager of a DataSource: pass the manager of its transaction((manager) => …)');
  return sendByRunner(queryRunner);
}

function sendByRunner(runner: TypeOrmQueryRunner): Send {
  if (!runner.isTransactionActive) throw notOpen();
  return sendByLent(() => runner.connect(), 'TypeORM');
}
