import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

test('secrets that a command prints and a file holds are read again each time, and never logged', async () => {
  await using outbox = await Outbox.create();
  const directory = await mkdtemp(join(tmpdir(), 'secrets-'));
  const [token, url] = [join(directory, 'token'), join(directory, 'url')];
  const rotate = async (password: string): Promise<void> => {
    await writeFile(token, `${password}\n`);
    await outbox.postgres.query(`ALTER ROLE ${outbox.slot} PASSWORD '${password}'`);
  };
  await outbox.postgres.query(`CREATE ROLE ${outbox.slot} LOGIN SUPERUSER`);
  await rotate('canary-1');
  await writeFile(url, Object.assign(new URL(outbox.clickhouseUrl), { password: 'canary-0' }).href);
  const streamer = outbox.stream({
    DATABASE_URL: Object.assign(new URL(outbox.databaseUrl), { username: outbox.slot, password: '' }).href,
    DATABASE_PASSWORD_COMMAND: `cat ${token}`,
    CLICKHOUSE_URL: '',
    CLICKHOUSE_URL_FILE: url,
    LOG_LEVEL: 'trace',
  });
  try {
    await outbox.fill(1);
    await streamer.failure('OUTBOX_CH_AUTH');
    await writeFile(url, outbox.clickhouseUrl);
    await outbox.untilDelivered(1);

    const attached = (): number => streamer.logs.filter(({ msg }) => msg === 'attached').length;
    const before = attached();
    await rm(token);
    await outbox.postgres.query(
      'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
      [outbox.slot],
    );
    const { err } = await streamer.failure('OUTBOX_PG_PASSWORD_COMMAND');
    expect(err?.message).toContain('it ended with code 1');
    await rotate('canary-2');
    await eventually('it attaches again', () => attached() > before);
    await outbox.fill(1);
    await outbox.untilDelivered(2);
    expect(await streamer.stop()).toBe(0);
    expect(streamer.output).not.toContain('canary');
  } finally {
    await streamer.kill();
    await rm(directory, { recursive: true });
    await outbox.postgres.query(`DROP ROLE ${outbox.slot}`);
  }
});
