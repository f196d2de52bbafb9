import { OutboxError } from '../../errors.ts';
import type { Maker } from './maker.ts';
import { hashOf, type Manifest, NO_HASH } from './manifest.ts';
import type { OutboxManifests, TableManifests } from './store.ts';

interface Chain {
  readonly slot: string;
  readonly epoch: number;
  readonly source: string;
  readonly maker: Maker;
  readonly outbox: OutboxManifests;
  readonly table: TableManifests;
}

/**
 * Makes both databases hold the same chain: copies to ClickHouse what a crash has left out, and takes back from it what a failover has
 * cost Postgres, as far as Postgres confirms it. Throws OUTBOX_MANIFEST_FORKED where neither is so, OUTBOX_PG_*, OUTBOX_CH_*.
 */
export async function align({ slot, epoch, source, maker, outbox, table }: Chain, signal: AbortSignal): Promise<void> {
  const ours = await outbox.find();
  const theirs = await table.last(source);
  const fork = (what: string): OutboxError =>
    new OutboxError('OUTBOX_MANIFEST_FORKED', { detail: `${source}: ${what}` });
  const [ownLast, copied] = [ours?.number ?? 0, theirs?.number ?? 0];
  const common = Math.min(ownLast, copied);
  if (common > 0) {
    const [one, other] = [await outbox.find(common), await first(table.after(source, common - 1))];
    if (one?.hash !== other?.hash) throw fork(`the manifest ${common} is another one in ClickHouse`);
  }
  for (let number = copied; number < ownLast;) {
    const left = await outbox.after(number);
    if (left.length === 0) break;
    for (const manifest of left) await table.add(manifest, signal);
    number = left.at(-1)!.number;
  }
  let previous = ours?.hash ?? NO_HASH;
  if (copied <= ownLast) return;
  for await (const manifest of table.after(source, ownLast)) {
    const isNext = manifest.previous === previous && hashOf(manifest) === manifest.hash;
    if (!isNext || !(await maker.confirms(manifest)))
      throw fork(`ClickHouse has a manifest ${manifest.number} that Postgres has not, and does not confirm`);
    if (!(await outbox.add(manifest, slot, epoch))) return;
    previous = manifest.hash;
  }
}

async function first(manifests: AsyncGenerator<Manifest>): Promise<Manifest | undefined> {
  for await (const manifest of manifests) return manifest;
  return undefined;
}
