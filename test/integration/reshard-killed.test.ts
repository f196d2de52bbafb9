import type { Pool } from 'pg';
import { expect, test } from 'vitest';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { reshard } from '../../src/streamer/commands/reshard.ts';
import { slotsOf } from '../../src/streamer/share.ts';
import { command } from '../support/command.ts';
import { killAt, type Held } from '../support/crash-point.ts';
import { Outbox } from '../support/outbox.ts';
import { produce, Shared } from '../support/shares.ts';
import type { Streamer } from '../support/streamer.ts';
import { eventually } from '../support/wait.ts';

const WAIT_MS = 60_000;
const NEW = 'OLD.begins_in IS NOT NULL AND OLD.ends_in IS NULL';
const FORMER = 'OLD.ends_in IS NOT NULL';
const INTENDS = 'OLD.pending_token IS NULL AND NEW.pending_token IS NOT NULL';
// the next insert may be intended by the same write
const SETTLES = 'OLD.pending_token IS NOT NULL AND NEW.pending_token IS DISTINCT FROM OLD.pending_token';

const ENDS_FOR_NOW = 'OLD.ends_lsn IS NULL AND NEW.ends_lsn IS NOT NULL';
const HANDS_OVER = 'OLD.ends_in IS NULL AND NEW.ends_in IS NOT NULL';

interface Kill {
  readonly who: 'reshard' | 'former' | 'new';
  /** A write of the ledger; without one, the making of a slot. */
  readonly at?: string;
  readonly commits?: boolean;
  readonly held?: Held;
}

const HANDED_OVER: Kill = { who: 'reshard', at: HANDS_OVER, commits: true, held: 'COMMIT' };

/** How the number of shares is changed, and who is killed meanwhile, one after the other. */
const CHANGES: readonly { readonly to: number; readonly kills: readonly Kill[] }[] = [
  {
    to: 2,
    kills: [
      { who: 'reshard' },
      { who: 'reshard', at: ENDS_FOR_NOW, commits: false },
      { who: 'reshard', at: ENDS_FOR_NOW, commits: true, held: 'COMMIT' },
      { who: 'reshard', at: HANDS_OVER, commits: false },
      HANDED_OVER,
      { who: 'reshard', at: FORMER, commits: false, held: 'DELETE' },
      { who: 'reshard', at: FORMER, commits: true, held: 'DELETE' },
    ],
  },
  {
    to: 3,
    kills: [
      { who: 'reshard', at: ENDS_FOR_NOW, commits: true, held: 'COMMIT' },
      HANDED_OVER,
      { who: 'former', at: `${FORMER} AND ${INTENDS}`, commits: true },
      { who: 'new', at: `${NEW} AND OLD.holder_pid IS NULL AND NEW.holder_pid IS NOT NULL`, commits: true },
    ],
  },
  {
    to: 1,
    kills: [
      HANDED_OVER,
      { who: 'former', at: `${FORMER} AND ${SETTLES}`, commits: false },
      { who: 'new', at: `${NEW} AND ${SETTLES}`, commits: false },
    ],
  },
];

test(
  'each event is delivered once while producers write, and `reshard` and streamers are killed at each of their steps',
  { timeout: 240_000 },
  async () => {
    // slots that are made wait for transactions of the whole server
    await using postgres = await startPostgres();
    await using outbox = await Outbox.create({ postgresUrl: postgres.url });
    const at = await Shared.create(outbox);
    const { slot, postgres: pool } = outbox;
    const start = (count: number): Streamer[] =>
      slotsOf(slot, count).map((_, index) => at.stream(count === 1 ? '' : `${index + 1}/${count}`));
    const kill = async (streamers: readonly Streamer[]): Promise<void> => {
      await Promise.all(streamers.map(async (streamer) => streamer.kill()));
    };

    await using producing = produce(outbox);
    let count = 1;
    let streamers = start(count);
    await at.more();
    for (const { to, kills } of CHANGES) {
      // they have something left to deliver then
      if (kills.some(({ who }) => who === 'former')) await kill(streamers);
      for (const { who, at: condition, commits = false, held } of kills) {
        if (who === 'reshard') {
          const running = command(outbox, ['reshard', String(to)]);
          const killing = (): void => running.kill();
          await (condition === undefined ? killAtSlot(pool, killing) : killAt(pool, condition, commits, killing, held));
          await running.done;
        } else {
          const attacked = start(who === 'former' ? count : to);
          await killAt(pool, condition!, commits, async () => kill(attacked), held);
          if (who === 'former') streamers = start(count);
        }
      }
      const next = start(to);
      await reshard(outbox.databaseUrl, { outbox: slot, count: to, isFailover: false }, WAIT_MS, () => undefined);
      await kill(streamers);
      [count, streamers] = [to, next];
    }

    const committed = await producing.stop();
    await eventually('all events', async () => (await at.counts()).events >= committed, 60_000);
    expect(await at.counts()).toEqual({ rows: committed, events: committed });
    const { rows } = await pool.query('SELECT slot_name AS slot FROM pg_replication_slots');
    expect(rows).toEqual([{ slot }]);
  },
);

/** Kills who makes a slot, while that waits for a transaction. */
async function killAtSlot(pool: Pool, kill: () => void): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN; SELECT pg_current_xact_id()');
    await eventually('the slot that is made waits', async () => {
      const { rowCount } = await pool.query('SELECT FROM pg_replication_slots WHERE confirmed_flush_lsn IS NULL');
      return rowCount! > 0;
    });
    kill();
    await client.query('ROLLBACK');
  } finally {
    client.release();
  }
}
