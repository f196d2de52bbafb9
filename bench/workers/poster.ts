/** Sends recorded bodies to ClickHouse by the streamer's own client, as many at a time as the streamer does. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { INSERT_COLUMNS } from '../../src/streamer/batch/native.ts';
import { ClickHouse } from '../../src/streamer/delivery/clickhouse.ts';
import { SETTINGS } from '../../src/streamer/settings.ts';
import { given, say } from '../worker.ts';

const PART_BYTES = 256 * 1024;

const IN_FLIGHT = SETTINGS.OUTBOX_BATCH_INSERTS.default;

const directory = given('DIRECTORY');
const names = (await readdir(directory)).toSorted();
const waiting = names.values();

const clickhouse = new ClickHouse(given('CLICKHOUSE_URL'), 60_000);
say('attached');
await Promise.all(Array.from({ length: IN_FLIGHT }, post));
await clickhouse.close();
say('done');
setInterval(() => undefined, 60_000);

async function post(): Promise<void> {
  for (const name of waiting) {
    const body = await readFile(join(directory, name));
    await clickhouse.insert(
      {
        query: `INSERT INTO {table:Identifier} (${INSERT_COLUMNS.join(', ')}) FORMAT Native`,
        parameters: { table: 'events' },
        body: partsOf(body),
        rows: Number(name.split('-')[1]),
        token: name,
        queryId: name,
      },
      AbortSignal.timeout(600_000),
    );
  }
}

function* partsOf(body: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < body.length; at += PART_BYTES) yield body.subarray(at, at + PART_BYTES);
}
