import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readManifest, ROOT } from '../package/packages.ts';
import { Example, EXAMPLES, Library } from './example.ts';

const UUID = expect.stringMatching(/^[0-9a-f-]{36}$/);
const SUCCESS = { code: 0, stderr: '' };
const PASSED = { ...SUCCESS, stdout: expect.stringMatching(/pass [1-9]/) };

let library: Library;
beforeAll(async () => {
  library = await Library.create();
});
afterAll(() => library[Symbol.asyncDispose]());

async function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', body: JSON.stringify(body), headers });
}

test('the example drizzle-hono places and pays an order, and emits nothing for a payment that is refused', async () => {
  await using example = await Example.create(library, 'drizzle-hono');
  expect(await example.run('--test')).toMatchObject(PASSED);
  const url = await example.serve();
  const ids: string[] = [];
  for (const amount of [120, 450]) {
    const response = await post(`${url}/orders`, { amount }, { 'x-request-id': `order-of-${amount}` });
    expect(response.status).toBe(201);
    ids.push(((await response.json()) as { id: string }).id);
  }
  const [small, large] = ids;
  const pay = async (id = ''): Promise<number> => (await post(`${url}/orders/${id}/payment`, { card: '4242' })).status;
  expect(await pay(large)).toBe(402);
  expect(await pay(small)).toBe(200);
  expect(await example.stop()).toEqual([0]);
  expect(await example.events(3)).toEqual([
    {
      type: 'order.placed',
      context: { orderId: small, amount: 120, currency: 'EUR', requestId: 'order-of-120' },
    },
    {
      type: 'order.placed',
      context: { orderId: large, amount: 450, currency: 'EUR', requestId: 'order-of-450' },
    },
    { type: 'order.paid', context: { orderId: small, card: '[redacted]', requestId: UUID } },
  ]);
  const { rows } = await example.outbox.postgres.query('SELECT amount, status FROM orders ORDER BY amount');
  expect(rows).toEqual([
    { amount: 120, status: 'paid' },
    { amount: 450, status: 'placed' },
  ]);
});

test('the example prisma signs up a user with an invitation, and nobody without one', async () => {
  await using example = await Example.create(library, 'prisma');
  expect(await example.run('--test')).toMatchObject(PASSED);
  const refused = await example.run('main.ts', 'bob@example.com', 'guess');
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('invitation.delete()') });
  const signedUp = await example.run('main.ts', 'ada@example.com', 'welcome');
  expect(signedUp).toMatchObject(SUCCESS);
  const { rows } = await example.outbox.postgres.query('SELECT id, email FROM users');
  expect(rows).toEqual([{ id: signedUp.stdout.trim(), email: 'ada@example.com' }]);
  expect(await example.events(1)).toEqual([
    { type: 'user.signed_up', context: { userId: rows[0].id, email: 'ada@example.com' } },
  ]);
});

test('the example kysely books a delivery as a whole, or not at all', async () => {
  await using example = await Example.create(library, 'kysely');
  const refused = await example.run('main.ts', 'd-1', 'tea=5', 'cups=-9');
  expect(refused).toMatchObject({ code: 1, stderr: 'there is not enough of cups\n' });
  expect(await example.run('main.ts', 'd-2', 'tea=5', 'cups=-3')).toMatchObject(SUCCESS);
  expect(await example.events(2)).toEqual([
    { type: 'stock.moved', context: { delivery: 'd-2', sku: 'tea', by: 5, host: hostname() } },
    { type: 'stock.moved', context: { delivery: 'd-2', sku: 'cups', by: -3, host: hostname() } },
  ]);
  const { rows } = await example.outbox.postgres.query('SELECT sku, stock FROM products ORDER BY sku');
  expect(rows).toEqual([
    { sku: 'cups', stock: 1 },
    { sku: 'tea', stock: 15 },
  ]);
});

test('the example pg moves money only from an account that has enough', async () => {
  await using example = await Example.create(library, 'pg');
  expect(await example.run('--test')).toMatchObject(PASSED);
  const url = await example.serve();
  const transfer = { from: 'ada', to: 'bob', amount: 70 };
  expect((await post(url, transfer, { 'x-user': 'ada' })).status).toBe(204);
  expect((await post(url, transfer, { 'x-user': 'ada' })).status).toBe(409);
  expect((await post(url, { from: 'bob', to: 'ada', amount: 1 }, { 'x-user': 'bob' })).status).toBe(204);
  expect(await example.stop()).toEqual([0]);
  expect(await example.events(2)).toEqual([
    { type: 'money.moved', context: { ...transfer, actor: 'ada' } },
    { type: 'money.moved', context: { from: 'bob', to: 'ada', amount: 1, actor: 'bob' } },
  ]);
  expect(await example.outbox.select('SELECT DISTINCT environment FROM events')).toEqual([
    { environment: 'development' },
  ]);
});

test('the trigger of the example sql emits the story of each order', async () => {
  await using example = await Example.create(library, 'sql');
  await example.outbox.postgres.query(await example.text('orders.sql'));
  await example.events(4);
  expect(await example.outbox.select(await example.text('query.sql'))).toEqual([
    { order_id: 1, story: ['order.placed', 'order.paid', 'payment.received'] },
    { order_id: 2, story: ['order.placed'] },
  ]);
});

test('every example has a test, a README, and the versions that the tests run with', async () => {
  const { version, devDependencies = {} } = await readManifest(ROOT);
  const ours = { 'pg-outbox-clickhouse': version, 'pg-outbox-clickhouse-streamer': version };
  const versions: Record<string, string> = { ...devDependencies, ...ours };
  const folders = await readdir(EXAMPLES, { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(names.toSorted()).toEqual(['auditor', 'drizzle-hono', 'kysely', 'pg', 'prisma', 'sql']);
  for (const name of names) {
    expect(await readdir(join(EXAMPLES, name))).toContain('README.md');
    // a script that installs nothing, run by test/integration/manifests.test.ts
    if (name === 'auditor') continue;
    const manifest = await readManifest(join(EXAMPLES, name));
    const declared = { ...manifest.dependencies, ...manifest.devDependencies };
    for (const [dependency, range] of Object.entries(declared)) expect(range).toBe(`^${versions[dependency]}`);
  }
});
