/** Records what the streamer would send to ClickHouse for a backlog: one file per INSERT, <number>-<rows>. */
import { closeSync, openSync, writevSync } from 'node:fs';
import { join } from 'node:path';
import { ChunkPool } from '../../src/streamer/batch/column.ts';
import { Intake } from '../../src/streamer/batch/intake.ts';
import { BatchLimits } from '../../src/streamer/batch/limits.ts';
import { constantBytes, encode } from '../../src/streamer/batch/native.ts';
import { SETTINGS } from '../../src/streamer/settings.ts';
import { PgoutputDecoder } from '../../src/streamer/source/pgoutput.ts';
import { Measures } from '../../src/streamer/observe/measures.ts';
import { Database } from '../../src/streamer/source/database.ts';
import { checkPublication } from '../../src/streamer/source/publication.ts';
import { Replication } from '../../src/streamer/source/replication.ts';
import { given, say } from '../worker.ts';

const slot = given('SLOT');
const directory = given('DIRECTORY');
const events = Number(given('EVENTS'));
const source = `bench/${slot}`;
let files = 0;
let recorded = 0;

const intake: Intake = new Intake({
  pool: new ChunkPool(2 * SETTINGS.OUTBOX_BATCH_MAX_BYTES.default),
  now: () => performance.now(),
  limits: new BatchLimits({
    rows: SETTINGS.OUTBOX_BATCH_MAX_ROWS.default,
    bytes: SETTINGS.OUTBOX_BATCH_MAX_BYTES.default,
  }),
  flushIntervalMs: 1e9,
  extraRowBytes: constantBytes({ source, origin: 'stream' }),
  delivered: { lsn: 0, seq: 0 },
  ends: Infinity,
  pending: undefined,
  onProgress: () => {
    if (intake.timer.dueIn() === 0) setImmediate(record);
  },
  onRelation: () => undefined,
});
const db = await Database.connect(given('DATABASE_URL'), {}, (error) => {
  throw error;
});
const { rootOid } = await checkPublication(db, slot);
await db.close();
const decoder = new PgoutputDecoder(intake, rootOid);
const replication = await Replication.connect({
  access: given('DATABASE_URL'),
  slot,
  onMessage: (buffer, start, end) => {
    const isTaken = decoder.decode(buffer, start, end);
    if (recorded + intake.rows === events) setImmediate(record);
    return isTaken;
  },
  onKeepalive: () => undefined,
  isUnwanted: () => false,
  flushLsn: () => 0,
  applyLsn: () => 0,
  measures: new Measures(),
  isWorking: async () => false,
  onWarning: () => undefined,
  onFailure: (error) => {
    throw error;
  },
});
await replication.start();
say('attached');

function record(): void {
  if (intake.rows === 0 || (intake.timer.dueIn() !== 0 && recorded + intake.rows < events)) return;
  const batch = intake.cut();
  const path = join(directory, `${String(files++).padStart(6, '0')}-${batch.rows}`);
  const file = openSync(path, 'w');
  for (const part of encode(batch, { source, deliveredAtMs: Date.now(), origin: 'stream' })) writevSync(file, [part]);
  closeSync(file);
  recorded += batch.rows;
  batch.close();
  replication.resume('buffer full');
  if (recorded === events) say('done');
}
