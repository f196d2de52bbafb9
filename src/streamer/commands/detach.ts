import { OutboxError } from '../../errors.ts';
import { formatLsn, type Lsn } from '../../lsn.ts';
import { readConfig, type Config } from '../config.ts';
import { untilDelivered } from '../ledger/delivered.ts';
import { examine } from '../ledger/gap.ts';
import { detach } from '../ledger/lifecycle.ts';
import { overviewOf, type LedgerOverview } from '../ledger/overview.ts';
import { countQuarantined } from '../ledger/quarantine.ts';
import { noLedger } from '../ledger/row.ts';
import { createLogger } from '../observe/log.ts';
import { Readiness } from '../observe/readiness.ts';
import { lockRepair } from '../repair/repair.ts';
import { Database } from '../source/database.ts';
import { checkMigrated } from '../source/server.ts';
import { refuseDoubtfulShares, refuseOtherShares } from '../ledger/shares.ts';
import { checkSlot, dropSlot } from '../source/slot.ts';
import { writtenTo } from '../source/wal-end.ts';
import { stream } from '../stream.ts';
import { say } from './terminal.ts';
import { parseUsage } from './usage.ts';

const HELP = `Usage: pg-outbox-clickhouse detach [--json]

Ends the stream before Postgres is upgraded to another major version, or the
database moves to another server. Stop all streamers first. It delivers what is
committed by now, as \`run\` does, proves that nothing is pending, notes that in
outbox.stream, and drops the slot. From then on no streamer delivers.

Applications may go on: what they commit meanwhile waits in outbox.event. After
the upgrade or the move, \`repair\` makes a slot on the new server and delivers
what waits. Nothing that was delivered is sent again, and the column source
stays as it is. If you give up the upgrade, \`repair\` goes on on the old server
as well.

If it is interrupted, run it again. What the streamer logs goes to stderr.

Options
  --json  one JSON document on stdout: { "delivered", "slot", "quarantined" }

Exit codes
  0  detached
  1  failed
  2  wrong usage or configuration
`;

export interface Detached {
  /** All that was committed before it is delivered. */
  readonly delivered: Lsn;
  readonly slot: string;
  readonly quarantined: number;
}

/** `pg-outbox-clickhouse detach`: returns the exit code. Throws OutboxErrors. */
export async function detachCommand(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const usage = parseUsage(args, { options: { json: { type: 'boolean', default: false } }, help: HELP });
  if (typeof usage === 'number') return usage;
  const { delivered, slot, quarantined } = await detachStream(readConfig(env));
  const report = { delivered: formatLsn(delivered), slot, quarantined };
  if (usage.values.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else say(print(report));
  return 0;
}

function print({ delivered, slot, quarantined }: { delivered: string; slot: string; quarantined: number }): string {
  const lines = [
    `everything committed before ${delivered} is delivered, and nothing is pending`,
    `the slot "${slot}" is dropped: no streamer delivers until \`pg-outbox-clickhouse repair\``,
  ];
  if (quarantined > 0) lines.push(`${quarantined} events are in quarantine, and stay there`);
  return `${lines.join('\n')}\n`;
}

/**
 * Each step may be the last one: until the ledger says so the stream is as before, and from then on only the slot is left to be
 * dropped. Throws OUTBOX_SLOT_BUSY, OUTBOX_DETACH_GAP, OUTBOX_DETACH_RESHARDED, OUTBOX_REPAIR_BUSY and what `examine` throws.
 */
async function detachStream(config: Config): Promise<Detached> {
  const { slot } = config;
  const durable = { parameters: { synchronous_commit: 'on' } };
  const db = await Database.connect(config, durable, () => undefined);
  try {
    await checkMigrated(db);
    await refuseOtherShares(db, slot);
    await lockRepair(db, slot);
    if (!(await overview(db, slot)).isDetached) {
      const { gap } = await examine(db, slot);
      if (gap !== undefined) throw new OutboxError('OUTBOX_DETACH_GAP', { detail: gap });
      await refuseDoubtfulShares(db, slot);
      const held = await checkSlot(db, slot);
      if (held?.activePid !== undefined)
        throw new OutboxError('OUTBOX_SLOT_BUSY', {
          detail: `process ${held.activePid} holds the slot "${slot}": stop all streamers, then detach`,
        });
      await deliverAll(config, db);
    }
    const { acked } = await overview(db, slot);
    const quarantined = await countQuarantined(db, slot);
    await dropSlot(db, slot);
    return { delivered: acked ?? 0, slot, quarantined };
  } finally {
    await db.close();
  }
}

async function overview(db: Database, slot: string): Promise<LedgerOverview> {
  const found = await overviewOf(db, slot);
  if (found === undefined) throw noLedger(db, slot);
  return found;
}

/** Streams until all that is committed by now is settled, and takes the ledger while nothing is pending. */
async function deliverAll(config: Config, db: Database): Promise<void> {
  const log = createLogger({ level: config.logLevel, schema: config.schema }, process.stderr);
  const lsn = await writtenTo(db);
  const isDetached = async (): Promise<boolean> => (await detach(db, config.slot, lsn)) !== undefined;
  do {
    const stop = new AbortController();
    const streaming = stream(withoutRetention(config), log, new Readiness(), stop.signal);
    try {
      await Promise.race([untilDelivered(db, config.slot, lsn, Infinity), streaming]);
    } finally {
      stop.abort();
      await streaming;
    }
    // a stop that ClickHouse or Postgres did not answer leaves something pending
  } while (!(await isDetached()));
}

/** Secrets are read again where they are asked for, which a copy would end. What only the outbox has is what `repair` delivers later. */
function withoutRetention(config: Config): Config {
  return Object.create(config, { retentionDays: { value: 0, enumerable: true } }) as Config;
}
