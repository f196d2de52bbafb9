import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { anchorsOf, ChainCheck } from './chain-check.ts';
import {
  hashOf,
  isSignedBy,
  NO_HASH,
  publicKeysOf,
  sealed,
  signingKeyOf,
  textOf,
  type Manifest,
  type Statement,
} from './manifest.ts';

const STATEMENT: Statement = {
  source: '7714092094304973470/outbox',
  number: 1,
  hour: 498_908,
  part: 1,
  events: 388,
  firstLsn: '31066480',
  lastLsn: '31066480',
  lastDeliveredAt: '1796077031285000',
  witnessed: '97'.repeat(32),
  delivered: '35'.repeat(32),
  added: [],
  absent: ['aa'.repeat(32), 'bb'.repeat(32)],
  madeAt: '1796077031541263',
  previous: NO_HASH,
  keyId: '',
};

/** Never to be changed: manifests of years ago are checked by it. */
const TEXT = `pg-outbox-clickhouse manifest 1
source 7714092094304973470/outbox
number 1
hour 2026-11-30T20:00:00Z
part 1
events 388
first_lsn 31066480
last_lsn 31066480
last_delivered_at 1796077031285000
witnessed ${'97'.repeat(32)}
delivered ${'35'.repeat(32)}
added${' '}
absent ${'aa'.repeat(32)},${'bb'.repeat(32)}
made_at 1796077031541263
previous ${NO_HASH}
key_id${' '}
`;

test('textOf writes the bytes that docs/auditors.md describes', () => {
  expect(textOf(STATEMENT)).toBe(TEXT);
  expect(hashOf(STATEMENT)).toMatch(/^[0-9a-f]{64}$/);
});

function keyPair() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = signingKeyOf(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  return { key, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

test('sealed signs so that the public key of the id proves it, and no other manifest by the same signature', () => {
  const { key, pem } = keyPair();
  const signed = sealed({ ...STATEMENT, keyId: key.id }, key);
  const keys = publicKeysOf(`${keyPair().pem}\n${pem}`);
  expect(keys.size).toBe(2);
  expect(isSignedBy(signed, keys.get(key.id)!)).toBe(true);
  expect(isSignedBy({ ...signed, events: 389 }, keys.get(key.id)!)).toBe(false);
  expect(sealed(STATEMENT, undefined)).toMatchObject({ signature: '', hash: hashOf(STATEMENT) });
});

test('signingKeyOf and publicKeysOf refuse a key that is not one of Ed25519', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  expect(() => signingKeyOf(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())).toThrow('Ed25519');
  expect(() => publicKeysOf(publicKey.export({ type: 'spki', format: 'pem' }).toString())).toThrow('Ed25519');
  expect(() => signingKeyOf('no key')).toThrow(/PEM|DECODER|unsupported/);
});

test('anchorsOf reads the streamer’s log and plain lines, and passes over all others', () => {
  const hash = 'ab'.repeat(32);
  const log = JSON.stringify({ level: 'info', source: 's/one', number: 7, hash, msg: 'made a manifest' });
  expect(anchorsOf(`${log}\npod-1 | ${log}\ns/two 8 ${hash}\n{"level":"info"}\n{"hash": broken\n\n`)).toMatchObject([
    { source: 's/one', number: 7, hash },
    { source: 's/one', number: 7, hash },
    { source: 's/two', number: 8, hash },
  ]);
});

test('ChainCheck names what was removed, repeated, reordered, altered or forged', () => {
  const chain: Manifest[] = [];
  for (let number = 1; number <= 4; number++)
    chain.push(
      sealed(
        { ...STATEMENT, number, hour: STATEMENT.hour + number, previous: chain.at(-1)?.hash ?? NO_HASH },
        undefined,
      ),
    );
  const check = (...manifests: Manifest[]): string[] => {
    const one = new ChainCheck(undefined, [{ source: 's', number: 4, hash: chain[3]!.hash }]);
    return [...manifests.flatMap((manifest) => [...one.add(manifest)]), ...one.end()].map(
      ({ kind, number }) => `${kind} ${number}`,
    );
  };
  const [a, b, c, d] = chain as [Manifest, Manifest, Manifest, Manifest];
  const forged = sealed({ ...b, events: 1 }, undefined);
  expect(check(a, b, c, d)).toEqual([]);
  expect(check(a, c, d)).toEqual(['chain 3']);
  expect(check(a, b, b, c, d)).toEqual(['chain 2']);
  expect(check(a, b, c)).toEqual(['anchor 4']);
  expect(check(a, { ...b, events: 1 }, c, d)).toEqual(['chain 2']);
  expect(check(a, forged, c, d)).toEqual(['chain 3']);
  expect(check(b, c, d)).toEqual(['chain 2']);
});
