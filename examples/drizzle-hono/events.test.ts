import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createRecorder } from 'pg-outbox-clickhouse/testing';
import { orderPaid, orderPlaced, outbox } from './events.ts';

test('an event has the defaults of its schema, and no card', async () => {
  const recorder = createRecorder();
  const orderId = randomUUID();
  await outbox.emitEvents(recorder.transaction(), [
    orderPlaced({ orderId, amount: 12 }),
    orderPaid({ orderId, card: '4242 4242 4242 4242' }),
  ]);
  assert.deepEqual(
    recorder.events.map(({ type, context }) => [type, context]),
    [
      ['order.placed', { orderId, amount: 12, currency: 'EUR' }],
      ['order.paid', { orderId, card: '[redacted]' }],
    ],
  );
});

test('what is no order is refused', async () => {
  const emitted = outbox.emitEvent(createRecorder().transaction(), orderPlaced({ orderId: 'x', amount: 12 }));
  await assert.rejects(emitted, { code: 'OUTBOX_EVENT_INVALID' });
});
