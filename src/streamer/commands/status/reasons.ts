/** What keeps events from flowing, and what an operator should know although they flow. */
import type { ErrorCode } from '../../../errors.ts';
import { stalledAfterMs } from '../../clickhouse/idling.ts';
import type { ReplicaState } from '../../clickhouse/replicas.ts';
import type { Config } from '../../config.ts';
import type { Reason } from '../../observe/reason.ts';
import { refusalOf } from '../../ledger/overview.ts';
import { SILENT_AFTER_MS } from '../../observe/silence.ts';
import type { ClickHouseState, PostgresState, ShareState } from './databases.ts';

/** As the streamer publishes it; without one, since when an insert is pending. */
export function oldestMsOf({ holder, ledger }: PostgresState): number | undefined {
  return holder.oldestMs ?? (holder.backend === undefined ? ledger.pending?.sinceMs : undefined);
}

/** What keeps events from flowing, by what the databases show. */
export function obstacles(
  config: Config,
  postgres: PostgresState,
  clickhouse: ClickHouseState | undefined,
  nowMs: number,
): Reason[] {
  const { holder, ledger, slotFault } = postgres;
  const { pending, refusal } = ledger;
  const stalledMs = stalledAfterMs(config);
  const found: Reason[] = [];
  const say = (code: ErrorCode, detail: string): void => void found.push({ code, detail });
  const seconds = (sinceMs: number): number => Math.round((nowMs - sinceMs) / 1000);
  if (ledger.isDetached) say('OUTBOX_DETACHED', 'the stream is detached');
  if (ledger.isRepairing) say('OUTBOX_REPAIR_UNFINISHED', 'a repair is under way, or was interrupted');
  if (slotFault !== undefined) found.push(slotFault);
  else if (holder.walsender === undefined) say('OUTBOX_FLOW_NO_STREAMER', 'no streamer holds the slot');
  else if (1000 * (holder.silentSeconds ?? 0) > SILENT_AFTER_MS)
    say('OUTBOX_FLOW_STALLED', `the streamer has given no sign of life for ${holder.silentSeconds} s`);
  if (refusal !== undefined) {
    const error = refusalOf(ledger);
    if (error !== undefined) say(error.code, `${error.message}, for ${seconds(refusal.sinceMs)} s`);
  }
  if (pending !== undefined && nowMs - pending.sinceMs > stalledMs)
    say(
      'OUTBOX_FLOW_STALLED',
      `a batch of ${pending.rows} ${pending.rows === 1 ? 'row' : 'rows'} is pending for ${seconds(pending.sinceMs)} s`,
    );
  const oldestMs = oldestMsOf(postgres) ?? nowMs;
  const restMs = stalledMs + config.flushIntervalMs;
  const stillMs = nowMs - Math.max(oldestMs, clickhouse?.deliveredMs ?? 0);
  if (pending === undefined && found.length === 0 && stillMs > restMs)
    say(
      'OUTBOX_FLOW_STALLED',
      `what was committed ${seconds(oldestMs)} s ago is not delivered, and no event was lately`,
    );
  if (config.readyMaxLagMs > 0 && nowMs - oldestMs > config.readyMaxLagMs)
    say('OUTBOX_FLOW_LATE', `what was committed ${seconds(oldestMs)} s ago is not delivered`);
  return found;
}

export function cautions({ ledger: { quarantined }, slot }: PostgresState): Reason[] {
  const found: Reason[] = [];
  if (slot?.endangered === true) {
    const runway = slot.runwayMinutes === undefined ? '' : `, ${slot.runwayMinutes} min left`;
    found.push({ code: 'OUTBOX_SLOT_ENDANGERED', detail: `wal_status is ${slot.walStatus}${runway}` });
  }
  if (quarantined > 0) found.push({ code: 'OUTBOX_QUARANTINED', detail: `${quarantined} events are in quarantine` });
  return found;
}

/** What is committed from the end on is delivered by nobody until `reshard` runs again. */
export function halted(shares: readonly ShareState[]): Reason[] {
  const names = shares.filter(({ stopped }) => stopped).map(({ slot }) => slot);
  if (names.length === 0) return [];
  return [
    { code: 'OUTBOX_SHARD_UNFINISHED', detail: `no slot delivers what comes behind the end of ${names.join(', ')}` },
  ];
}

export function changing(shares: readonly ShareState[]): Reason[] {
  const names = shares.filter(({ ending, stopped }) => ending && !stopped).map(({ slot }) => slot);
  if (names.length === 0) return [];
  return [{ code: 'OUTBOX_SHARD_UNFINISHED', detail: `other shares take over from ${names.join(', ')}` }];
}

/** Events may flow all the same: by another replica, or until an insert comes. */
export function replicaCautions(replica: ReplicaState | undefined, reasons: readonly Reason[]): Reason[] {
  if (replica === undefined || reasons.some(({ code }) => code === 'OUTBOX_CH_KEEPER_AWAY')) return [];
  const { replica: name, state, active, total } = replica;
  if (state === 'no Keeper')
    return [{ code: 'OUTBOX_CH_KEEPER_AWAY', detail: `the replica "${name}" has no session with Keeper` }];
  if (state === 'read only') return [{ code: 'OUTBOX_CH_KEEPER_AWAY', detail: `the replica "${name}" is read-only` }];
  if (active >= total) return [];
  return [{ code: 'OUTBOX_CH_REPLICA_AWAY', detail: `${active} of ${total} replicas are there` }];
}
