import { createPublicKey, type KeyObject } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { OutboxError, type ErrorCode } from '../../errors.ts';
import { ClickHouse, LONG_SELECT_MS } from '../clickhouse/client.ts';
import { SNAPSHOT_PARAMETERS } from '../compare/outbox.ts';
import { formatTime, type Window } from '../compare/window.ts';
import type { Config } from '../config.ts';
import { Audit, type AuditOptions, type Checked, type Fault, type FaultKind } from '../manifests/audit.ts';
import { anchorsOf } from '../manifests/chain-check.ts';
import { publicKeysOf } from '../manifests/manifest.ts';
import { OutboxWitness } from '../manifests/outbox-witness.ts';
import { Database } from '../source/database.ts';

export interface ManifestOptions {
  /** Of recorded_at. */
  readonly window: Window;
  /** Paths; empty for none. The keys are a file or a folder of them. */
  readonly anchor: string;
  readonly keys: string;
  readonly limit: number;
  /** Postgres is given. */
  readonly asksPostgres: boolean;
}

const KINDS = [
  'altered',
  'missing',
  'added',
  'moved',
  'unwitnessed',
  'superseded',
  'mistyped',
  'chain',
  'signature',
  'anchor',
  'erasure',
] as const satisfies readonly FaultKind[];

/** The document of `--manifests --json`. */
export interface ManifestsReport {
  /** Everything that was checked is as the manifests say. */
  readonly intact: boolean;
  readonly window: { readonly from: string | null; readonly to: string | null };
  /** Postgres was asked for its copy of the manifests, and for the events that it still has; or why not. */
  readonly postgres: 'asked' | 'not given' | ErrorCode;
  /** Whether signatures were checked: a public key was given. */
  readonly signatures: boolean;
  /** Whether an archive was given. */
  readonly anchors: boolean;
  readonly sources: readonly Checked[];
  /** How many faults of each kind, and the first of each. */
  readonly counts: Readonly<Record<FaultKind, number>>;
  readonly faults: readonly Fault[];
}

/** Checks the manifests, and ClickHouse by them. Throws OUTBOX_MANIFEST_NONE, OUTBOX_CONFIG_INVALID, OUTBOX_CH_*. */
export async function verifyManifests(
  config: Config,
  options: ManifestOptions,
  onProgress: AuditOptions['onProgress'] = () => undefined,
): Promise<ManifestsReport> {
  const { window, limit } = options;
  const keys = keysOf(config.manifestKeyFile, options.keys);
  const anchors = options.anchor === '' ? [] : anchorsOf(readText('--anchor', options.anchor));
  if (options.anchor !== '' && anchors.length === 0)
    throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems: ['--anchor names a file without a manifest in it'] });
  const { clickhouseTable: table } = config;
  const clickhouse = new ClickHouse(config, LONG_SELECT_MS);
  const opened: Database[] = [];
  let postgres: ManifestsReport['postgres'] = 'not given';
  let witness: OutboxWitness | undefined;
  try {
    if (options.asksPostgres)
      try {
        const ask = await Database.connect(config, {}, () => undefined);
        opened.push(ask);
        const long = { queryTimeoutMs: 0, parameters: SNAPSHOT_PARAMETERS };
        const snapshots = await Database.connect(config, long, () => undefined);
        opened.push(snapshots);
        witness = await OutboxWitness.open({ ask, snapshots, clickhouse, table }, config.slot);
        await witness.sources();
        postgres = 'asked';
      } catch (error) {
        // the manifests are to be checked when the outbox is long gone
        if (!(error instanceof OutboxError)) throw error;
        [witness, postgres] = [undefined, error.code];
      }
    const audit = new Audit({ clickhouse, table, window, keys, anchors, witness, limit, onProgress });
    const counts = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<FaultKind, number>;
    const faults: Fault[] = [];
    for await (const fault of audit.faults()) if (++counts[fault.kind] <= limit) faults.push(fault);
    const time = (us: bigint | undefined): string | null => (us === undefined ? null : formatTime(us));
    return {
      intact: faults.length === 0,
      window: { from: time(window.from), to: time(window.to) },
      postgres,
      signatures: keys !== undefined,
      anchors: anchors.length > 0,
      sources: audit.checked,
      counts,
      faults,
    };
  } finally {
    await Promise.all([clickhouse.close(), ...opened.map(async (db) => db.close())]);
  }
}

/** Of `--keys`, and of the private key that the streamer signs with, where it is given. Throws OUTBOX_CONFIG_INVALID. */
function keysOf(ownKeyFile: string, path: string): ReadonlyMap<string, KeyObject> | undefined {
  if (ownKeyFile === '' && path === '') return undefined;
  const names = path === '' ? [] : listOf(path);
  try {
    const own =
      ownKeyFile === ''
        ? ''
        : createPublicKey(readFileSync(ownKeyFile, 'utf8')).export({ type: 'spki', format: 'pem' });
    const keys = publicKeysOf([own, ...names.map((name) => readFileSync(name, 'utf8'))].join('\n'));
    if (keys.size > 0) return keys;
  } catch {
    // told below
  }
  throw new OutboxError('OUTBOX_CONFIG_INVALID', {
    problems: ['--keys must name a file, or a folder of files, of public Ed25519 keys in PEM'],
  });
}

function listOf(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [join(path, entry.name)] : [],
    );
  } catch {
    throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems: ['--keys names a file that cannot be read'] });
  }
}

function readText(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    throw new OutboxError('OUTBOX_CONFIG_INVALID', { problems: [`${option} names a file that cannot be read`] });
  }
}

/** The report for people. */
export function printManifests({
  intact,
  window,
  postgres,
  signatures,
  anchors,
  sources,
  counts,
  faults,
}: ManifestsReport): string {
  const row = (label: string, value: string | number): string =>
    `  ${label.padEnd(24)}${(typeof value === 'number' ? value.toLocaleString('en-US') : value).padStart(16)}`;
  const span =
    window.from === null && window.to === null
      ? 'all hours of the chain'
      : `${window.from ?? '…'} to ${window.to ?? '…'}`;
  const lines: string[] = [];
  for (const { source, manifests, signed, anchored, hours, expired, events, before, behind, head, isTyped } of sources)
    lines.push(
      `${source}, ${span}`,
      '',
      row('manifests', manifests),
      row('  signed', signatures ? signed : 'not checked'),
      row('  in the archive', anchors ? anchored : 'not checked'),
      row('hours', hours),
      ...(expired === 0 ? [] : [row('  with expired events', expired)]),
      row('events', events),
      row('  not covered: before', before),
      row('  not covered: behind', behind),
      row('event_context', isTyped ? 'compared' : 'not compared'),
      ...(head === null ? [] : [`  head of the chain: ${head.number} ${head.hour} ${head.hash}`]),
      '',
    );
  lines.push(...KINDS.filter((kind) => counts[kind] > 0).map((kind) => row(kind, counts[kind])));
  for (const { kind, source, hour, number, why, events } of faults) {
    const of = [hour, number === null ? null : `manifest ${number}`].filter((part) => part !== null).join(', ');
    lines.push(`${kind}: ${sources.length > 1 ? `${source}, ` : ''}${of === '' ? '' : `${of}: `}${why}`);
    for (const event of events) lines.push(`  ${event.kind} ${event.eventId}`);
  }
  if (postgres !== 'asked')
    lines.push(
      `Postgres was not asked${postgres === 'not given' ? '' : ` (${postgres})`}: no event could be named by it.`,
    );
  lines.push(intact ? 'intact: everything is as the manifests say' : 'NOT intact');
  return `${lines.join('\n')}\n`;
}
