import { mkdtemp, open, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { INSERT_COLUMNS } from '../src/streamer/batch/native.ts';
import type { ClickHouse } from '../src/streamer/clickhouse/client.ts';
import { SETTINGS } from '../src/streamer/settings.ts';
import { Source } from './source.ts';
import type { Shape } from './source.ts';
import type { Warehouse } from './warehouse.ts';
import { Worker } from './worker.ts';

const PART_BYTES = 256 * 1024;
const COLUMNS = INSERT_COLUMNS.join(', ');

/** A directory of what the streamer sends for the backlog of a slot: a file for each INSERT, <number>-<rows>. */
export async function record(source: Source, slot: string, events: number): Promise<string> {
  const directory = await newDirectory();
  await using recorder = await Worker.start('recorder.ts', {
    DATABASE_URL: source.url,
    SLOT: slot,
    EVENTS: String(events),
    DIRECTORY: directory,
  });
  await recorder.said('done');
  return directory;
}

/** The same, of a backlog that is made for it. */
export async function recordBacklog(shape: Shape): Promise<string> {
  await using source = await Source.start();
  const slot = await source.addSlot();
  await source.addBacklog(shape);
  return await record(source, slot, shape.events);
}

/**
 * The same bodies as ClickHouse writes them in another format, in a new directory.
 *
 * @param replaced columns to be given other values: `expression AS column, …`
 */
export async function rewrite(warehouse: Warehouse, from: string, format: string, replaced?: string): Promise<string> {
  const directory = await newDirectory();
  const asks = replaced === undefined ? COLUMNS : `* REPLACE (${replaced})`;
  for (const name of (await readdir(from)).toSorted()) {
    await warehouse.command('CREATE OR REPLACE TABLE body ENGINE = Memory EMPTY AS SELECT ' + COLUMNS + ' FROM events');
    const { stream: answer } = await warehouse.client.exec({
      query: `INSERT INTO body (${COLUMNS}) FORMAT Native`,
      values: (await open(join(from, name))).createReadStream(),
    });
    answer.resume();
    const { stream } = await warehouse.client.exec({
      query: `SELECT ${asks} FROM body FORMAT ${format}`,
      // one block, as it was
      clickhouse_settings: { max_threads: 1, low_cardinality_allow_in_native_format: 0 },
    });
    await using file = await open(join(directory, name), 'w');
    await file.writeFile(stream);
  }
  await warehouse.command('DROP TABLE body');
  return directory;
}

/** Sends all bodies, as many at a time as the streamer does. */
export async function post(clickhouse: ClickHouse, table: string, directory: string, format = 'Native'): Promise<void> {
  const waiting = (await readdir(directory)).toSorted().values();
  const one = async (): Promise<void> => {
    for (const name of waiting) {
      const body = await readFile(join(directory, name));
      await clickhouse.insert(
        {
          query: `INSERT INTO {table:Identifier} (${COLUMNS}) FORMAT ${format}`,
          parameters: { table },
          body: partsOf(body),
          rows: Number(name.split('-')[1]),
          token: name,
          queryId: `${table}-${name}`,
        },
        AbortSignal.timeout(600_000),
      );
    }
  };
  await Promise.all(Array.from({ length: SETTINGS.OUTBOX_BATCH_INSERTS.default }, one));
}

async function newDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'bench-bodies-'));
}

function* partsOf(body: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < body.length; at += PART_BYTES) yield body.subarray(at, at + PART_BYTES);
}
