import { hostname } from 'node:os';
import { type } from 'arktype';
import type { Kysely } from 'kysely';
import { createOutbox, defineEvent } from 'pg-outbox-clickhouse';

export interface Database {
  products: { sku: string; stock: number };
}

export interface Movement {
  readonly sku: string;
  readonly by: number;
}

export const stockMoved = defineEvent('stock.moved', {
  schema: type({ delivery: 'string > 0', sku: 'string > 0', by: 'number.integer' }),
});

export const outbox = createOutbox({ events: [stockMoved], context: () => ({ host: hostname() }) });

/** Books all movements of a delivery, or none: of an unknown product, or of more than there is. */
export async function book(db: Kysely<Database>, delivery: string, movements: readonly Movement[]): Promise<void> {
  await db.transaction().execute(async (trx) => {
    // one INSERT, whatever their number
    await outbox.emitEvents(
      trx,
      movements.map((movement) => stockMoved({ delivery, ...movement })),
    );
    for (const { sku, by } of movements) {
      const { numUpdatedRows } = await trx
        .updateTable('products')
        .set((eb) => ({ stock: eb('stock', '+', by) }))
        .where('sku', '=', sku)
        .where('stock', '>=', -by)
        .executeTakeFirstOrThrow();
      if (numUpdatedRows === 0n) throw new Error(`there is not enough of ${sku}`);
    }
  });
}
