/** A process that erases the events of subjects, one after the other, and waits for no insert that was sent before: `node eraser.ts <subject> …`. */
import { readConfig } from '../../src/streamer/config.ts';
import { Eraser } from '../../src/streamer/erase/erase.ts';

for (const subject of process.argv.slice(2)) {
  const filter = { subjects: [subject], ids: [], types: [], environments: [] };
  const options = { filter, sources: [], waitMs: 60_000, insertLivesMs: 0 };
  await using eraser = await Eraser.open(readConfig(process.env), options);
  const isLeft = (await eraser.count()).clickhouse > 0 || (await eraser.unfinished()) !== undefined;
  if (isLeft) await eraser.erase('request 123', () => undefined);
}
