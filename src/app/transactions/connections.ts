import { kindOf } from '../problems.ts';
import { refused, type Send } from './client.ts';
import { isPg, requireOpen, sendByPg } from './pg.ts';

/**
 * Sends through the client of node-postgres beneath a query builder or ORM. Its own functions would put the parameters into
 * its events, logs and error messages.
 *
 * @param client the name of the query builder or ORM
 */
export function sendByLent(connection: () => PromiseLike<unknown>, client: string): Send {
  return async (statement) => {
    const lent = await connection();
    if (!isPg(lent))
      throw refused(`a transaction of ${client} over ${kindOf(lent)}, not over node-postgres (pg ≥ 8.21)`);
    requireOpen(lent);
    return sendByPg(lent)(statement);
  };
}
