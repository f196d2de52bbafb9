import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { INSERT_COLUMNS } from '../src/streamer/clickhouse/columns.ts';
import type { ClickHouse } from '../src/streamer/clickhouse/client.ts';
import type { Source } from './source.ts';
import { Worker } from './worker.ts';

const PART_BYTES = 256 * 1024;
const INSERT = `INSERT INTO events (${INSERT_COLUMNS.join(', ')}) FORMAT Native`;

/** Records what the streamer sends for a slot's backlog, into a directory with one file per INSERT: <number>-<rows>. */
export async function record(source: Source, slot: string, events: number): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-bodies-'));
  await using recorder = await Worker.start('recorder.ts', {
    DATABASE_URL: source.url,
    SLOT: slot,
    EVENTS: String(events),
    DIRECTORY: directory,
  });
  await recorder.said('done');
  return directory;
}

/** Sends all recorded bodies, one after the other, as the streamer does. */
export async function post(clickhouse: ClickHouse, directory: string): Promise<void> {
  for (const name of (await readdir(directory)).toSorted()) {
    const body = await readFile(join(directory, name));
    await clickhouse.insert(
      {
        query: INSERT,
        parameters: {},
        body: partsOf(body),
        rows: Number(name.split('-')[1]),
        token: name,
        queryId: `events-${name}`,
      },
      AbortSignal.timeout(600_000),
    );
  }
}

function* partsOf(body: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < body.length; at += PART_BYTES) yield body.subarray(at, at + PART_BYTES);
}
