import { parseLsn, type Lsn } from '../../lsn.ts';
import type { Database } from './database.ts';

/** The commit records of all that was committed so far lie before it, and a stream that has delivered all of it gets there. */
export async function writtenTo(db: Database): Promise<Lsn> {
  const { rows } = await db.query<{ lsn: string; page: number; segment: string }>(
    `SELECT pg_current_wal_insert_lsn() AS lsn, current_setting('wal_block_size')::int AS page,
            pg_size_bytes(current_setting('wal_segment_size')) AS segment`,
  );
  const { lsn, page, segment } = rows[0]!;
  return recordEnd(parseLsn(lsn), page, Number(segment));
}

/**
 * The insert position is where the next record begins. Right behind a page that is full, that is behind the next page's
 * header, where no record ends: a slot without anything new would never get there.
 */
export function recordEnd(insertLsn: Lsn, pageBytes: number, segmentBytes: number): Lsn {
  const [shortHeader, longHeader] = [24, 40];
  if (insertLsn % segmentBytes === longHeader) return insertLsn - longHeader;
  if (insertLsn % segmentBytes > pageBytes && insertLsn % pageBytes === shortHeader) return insertLsn - shortHeader;
  return insertLsn;
}
