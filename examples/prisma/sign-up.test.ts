import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createRecorder } from 'pg-outbox-clickhouse/testing';
import { outbox, userSignedUp } from './sign-up.ts';

test('an address is stored in lower case, and is one', async () => {
  const recorder = createRecorder();
  const userId = randomUUID();
  await outbox.emitEvent(recorder.transaction(), userSignedUp({ userId, email: 'Ada@Example.com' }));
  assert.equal(recorder.events[0]?.context['email'], 'ada@example.com');

  const refused = outbox.emitEvent(recorder.transaction(), userSignedUp({ userId, email: 'Ada' }));
  await assert.rejects(refused, { code: 'OUTBOX_EVENT_INVALID' });
});
