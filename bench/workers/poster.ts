/** Sends recorded bodies to ClickHouse, one at a time, by the streamer's own client; the next one is read meanwhile. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { INSERT_COLUMNS } from '../../src/streamer/batch/native.ts';
import { ClickHouse } from '../../src/streamer/delivery/clickhouse.ts';
import { given, say } from '../worker.ts';

const PART_BYTES = 256 * 1024;

const directory = given('DIRECTORY');
const names = (await readdir(directory)).toSorted();
const read = async (name: string | undefined): Promise<Buffer> =>
  name === undefined ? Buffer.alloc(0) : readFile(join(directory, name));

const clickhouse = new ClickHouse(given('CLICKHOUSE_URL'), 60_000);
let next = read(names[0]);
await next;
say('attached');
for (const [at, name] of names.entries()) {
  const body = await next;
  next = read(names[at + 1]);
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
await clickhouse.close();
say('done');
setInterval(() => undefined, 60_000);

function* partsOf(body: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < body.length; at += PART_BYTES) yield body.subarray(at, at + PART_BYTES);
}
