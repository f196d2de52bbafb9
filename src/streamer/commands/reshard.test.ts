import { expect, test } from 'vitest';
import { reshardCommand } from './reshard.ts';

test('`reshard` rejects an OUTBOX_SLOT that is too long for the slots of its shares before it connects', async () => {
  const env = {
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
    CLICKHOUSE_URL: 'http://127.0.0.1:1',
    OUTBOX_SLOT: 's'.repeat(56),
  };
  await expect(reshardCommand(['10'], env)).rejects.toMatchObject({
    code: 'OUTBOX_CONFIG_INVALID',
    problems: [expect.stringContaining('OUTBOX_SLOT is too long')],
  });
  // its shares are _1_of_9 at most
  await expect(reshardCommand(['9'], env)).rejects.toMatchObject({ code: 'OUTBOX_PG_UNREACHABLE' });
});
