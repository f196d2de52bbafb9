import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

/** Hours since 1970, in UTC. */
export type Hour = number;

export const HOUR_US = 3_600_000_000n;

/** What stands for the manifest before the first one. */
export const NO_HASH = '0'.repeat(64);

/** What a manifest says. Digests are SHA-256 in lowercase hex; times are µs since 1970. */
export interface Statement {
  readonly source: string;
  /** Its place in the chain of the source: 1, 2, 3 … */
  readonly number: number;
  readonly hour: Hour;
  /** 1, and more for events that came late into the hour. Each part covers the whole hour. */
  readonly part: number;
  readonly events: number;
  /** The least and the greatest position, as numbers; 0 without events. */
  readonly firstLsn: string;
  readonly lastLsn: string;
  readonly lastDeliveredAt: string;
  /** SHA-256 over the digests `witnessed` of the events, in their order as bytes. */
  readonly witnessed: string;
  /** SHA-256 over the pairs `witnessed`, `delivered`, in the same order. */
  readonly delivered: string;
  /** The digests `witnessed` of events that the part before did not have, in order. */
  readonly added: readonly string[];
  /** The digests `witnessed` of events that Postgres had and ClickHouse did not: those in quarantine, in order. */
  readonly absent: readonly string[];
  readonly madeAt: string;
  /** The hash of the manifest before it in the chain. */
  readonly previous: string;
  /** Of the key that has signed it; empty where none has. */
  readonly keyId: string;
}

export interface Manifest extends Statement {
  /** SHA-256 of `textOf`. */
  readonly hash: string;
  /** Ed25519 over `textOf`, in base64; empty without a key. */
  readonly signature: string;
}

/** The exact bytes that are hashed and signed, as text. docs/auditors.md writes them down. */
export function textOf(statement: Statement): string {
  const { source, number, hour, part, events, firstLsn, lastLsn, lastDeliveredAt } = statement;
  const lines = {
    source,
    number,
    hour: isoHour(hour),
    part,
    events,
    first_lsn: firstLsn,
    last_lsn: lastLsn,
    last_delivered_at: lastDeliveredAt,
    witnessed: statement.witnessed,
    delivered: statement.delivered,
    added: statement.added.join(','),
    absent: statement.absent.join(','),
    made_at: statement.madeAt,
    previous: statement.previous,
    key_id: statement.keyId,
  };
  const body = Object.entries(lines).map(([name, value]) => `${name} ${value}\n`);
  return `pg-outbox-clickhouse manifest 1\n${body.join('')}`;
}

export const hashOf = (statement: Statement): string => createHash('sha256').update(textOf(statement)).digest('hex');

/** `2026-11-30T21:00:00Z` */
export const isoHour = (hour: Hour): string => new Date(hour * 3_600_000).toISOString().replace('.000Z', 'Z');

/** A key that signs, and its id: how a verifier finds the public one. */
export interface SigningKey {
  readonly id: string;
  readonly key: KeyObject;
}

/** The first 16 digits of SHA-256 over the public key in DER (SubjectPublicKeyInfo). */
export function keyIdOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16);
}

/** Throws where the text is no private Ed25519 key in PEM. */
export function signingKeyOf(pem: string): SigningKey {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== 'ed25519') throw new Error('the key is not one of Ed25519');
  return { id: keyIdOf(createPublicKey(key)), key };
}

/** Public keys by their ids, out of the PEM blocks of a text. Throws where one is no Ed25519 key. */
export function publicKeysOf(pem: string): ReadonlyMap<string, KeyObject> {
  const blocks = pem.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g) ?? [];
  const keys = blocks.map((block) => createPublicKey(block));
  if (keys.some((key) => key.asymmetricKeyType !== 'ed25519')) throw new Error('a key is not one of Ed25519');
  return new Map(keys.map((key) => [keyIdOf(key), key]));
}

/** The manifest of a statement, whose `keyId` is that of the key. */
export function sealed(statement: Statement, key: SigningKey | undefined): Manifest {
  const signature = key === undefined ? '' : sign(null, Buffer.from(textOf(statement)), key.key).toString('base64');
  return { ...statement, hash: hashOf(statement), signature };
}

export function isSignedBy(manifest: Manifest, publicKey: KeyObject): boolean {
  return verify(null, Buffer.from(textOf(manifest)), publicKey, Buffer.from(manifest.signature, 'base64'));
}
