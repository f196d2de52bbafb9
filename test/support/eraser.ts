/** A process that erases the events of a subject, and waits for no insert that somebody was killed at: `node eraser.ts <subject>`. */
import { readConfig } from '../../src/streamer/config.ts';
import { Eraser } from '../../src/streamer/erase/erase.ts';

const filter = { subjects: process.argv.slice(2), ids: [], types: [], environments: [] };
await using eraser = await Eraser.open(readConfig(process.env), {
  filter,
  sources: [],
  waitMs: 60_000,
  insertLivesMs: 0,
});
const isLeft = (await eraser.count()).clickhouse > 0 || (await eraser.unfinished()) !== undefined;
if (isLeft) await eraser.erase('request 123', () => undefined);
