import type { KeyObject } from 'node:crypto';
import { hashOf, isSignedBy, NO_HASH, type Manifest } from './manifest.ts';

/** What an archive outside both databases says of a manifest. */
export interface Anchor {
  readonly source: string;
  readonly number: number;
  readonly hash: string;
}

/**
 * The lines of an archive that tell of manifests: those of the streamer's log, as they are, or `source number hash`. All other lines are
 * passed over.
 */
export function anchorsOf(text: string): Anchor[] {
  return text.split('\n').flatMap((line) => {
    const [, source, number, hash] = /^(\S+) (\d+) ([0-9a-f]{64})$/.exec(line.trim()) ?? [];
    if (source !== undefined) return [{ source, number: Number(number), hash: hash! }];
    const at = line.indexOf('{');
    if (at === -1 || !line.includes('"hash"')) return [];
    try {
      const told = JSON.parse(line.slice(at)) as Record<string, unknown>;
      const isAnchor = typeof told['source'] === 'string' && Number.isInteger(told['number']);
      return isAnchor && typeof told['hash'] === 'string' ? [told as unknown as Anchor] : [];
    } catch {
      return [];
    }
  });
}

export interface ChainFault {
  readonly kind: 'chain' | 'signature' | 'anchor';
  readonly number: number;
  readonly why: string;
}

/** Checks the manifests of one source, in the order of their numbers: chain, signatures, and what the archive says. */
export class ChainCheck {
  readonly #keys: ReadonlyMap<string, KeyObject> | undefined;
  readonly #anchors: Map<number, string>;
  #previous: Pick<Manifest, 'number' | 'hash'> = { number: 0, hash: NO_HASH };
  #isSigned = false;
  signed = 0;
  anchored = 0;

  /** @param keys undefined where signatures are not checked */
  constructor(keys: ReadonlyMap<string, KeyObject> | undefined, anchors: readonly Anchor[]) {
    this.#keys = keys;
    this.#anchors = new Map(anchors.map(({ number, hash }) => [number, hash]));
  }

  *add(manifest: Manifest): Generator<ChainFault, void, undefined> {
    const { number, hash, previous } = manifest;
    const before = this.#previous;
    this.#previous = { number, hash };
    const chain = (why: string): ChainFault => ({ kind: 'chain', number, why });
    if (number === before.number) yield chain(`there are two manifests ${number}`);
    else if (number !== before.number + 1) yield chain(missing(before.number + 1, number - 1));
    else if (previous !== before.hash) yield chain(`it names another one before it than the manifest ${before.number}`);
    if (hashOf(manifest) !== hash) yield chain('it was altered: its hash is that of another one');
    yield* this.#signature(manifest);
    const anchored = this.#anchors.get(number);
    if (anchored === undefined) return;
    this.#anchors.delete(number);
    this.anchored++;
    if (anchored !== hash) yield { kind: 'anchor', number, why: `the archive has another one: ${anchored}` };
  }

  /** What the archive has beyond the last one. */
  *end(): Generator<ChainFault, void, undefined> {
    for (const number of this.#anchors.keys())
      yield { kind: 'anchor', number, why: 'the archive has it, and the chain does not' };
  }

  *#signature(manifest: Manifest): Generator<ChainFault, void, undefined> {
    if (this.#keys === undefined) return;
    const { number, keyId } = manifest;
    if (keyId === '') {
      if (this.#isSigned) yield { kind: 'signature', number, why: 'it is not signed, and those before it are' };
      return;
    }
    this.#isSigned = true;
    const key = this.#keys.get(keyId);
    if (key === undefined) yield { kind: 'signature', number, why: `no public key ${keyId} was given` };
    else if (isSignedBy(manifest, key)) this.signed++;
    else yield { kind: 'signature', number, why: `it is not what the key ${keyId} has signed` };
  }
}

const missing = (from: number, to: number): string =>
  from === to ? `the manifest ${from} is missing` : `the manifests ${from} to ${to} are missing`;
