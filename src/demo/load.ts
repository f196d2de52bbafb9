import { randomInt } from 'node:crypto';

interface Answer {
  readonly id?: string;
  readonly events: readonly string[];
  readonly traceId?: string;
}

/** What the shop's visitors saw: their own record of what committed and what did not, kept outside both databases. */
export class Totals {
  requests = 0;
  commits = 0;
  rollbacks = 0;
  readonly committed: string[] = [];
  readonly rolledBack: string[] = [];
  /** A request and the order that it paid for, to ask about later. */
  lastPaid: { readonly orderId: string; readonly traceId: string | undefined } | undefined;
}

const LARGEST_AMOUNT = 460;

/** One visit: a user registers, places an order and pays, which is refused now and then. */
export async function visit(shop: string, totals: Totals): Promise<void> {
  const user = await post(shop, '/users', { name: `visitor ${totals.requests}` }, totals);
  const order = await post(shop, '/orders', { userId: user.id, amount: randomInt(1, LARGEST_AMOUNT) }, totals);
  await post(shop, `/orders/${order.id}/payment`, {}, totals);
}

/** `workers` visitors at a time, until `isOver`. */
export async function load(shop: string, totals: Totals, workers: number, isOver: () => boolean): Promise<void> {
  const visitor = async (): Promise<void> => {
    while (!isOver()) await visit(shop, totals);
  };
  await Promise.all(Array.from({ length: workers }, visitor));
}

async function post(shop: string, path: string, body: unknown, totals: Totals): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(new URL(path, shop), { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = (await response.json()) as Answer;
  totals.requests++;
  if (response.ok) {
    totals.commits++;
    totals.committed.push(...answer.events);
    const orderId = /\/orders\/(.+)\/payment/.exec(path)?.[1];
    if (orderId !== undefined) totals.lastPaid = { orderId, traceId: answer.traceId };
  } else if (response.status === 402) {
    totals.rollbacks++;
    totals.rolledBack.push(...answer.events);
  } else throw new Error(`the shop answered ${response.status} to ${path}`);
  return answer;
}
