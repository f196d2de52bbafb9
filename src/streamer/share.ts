/**
 * An outbox may be delivered in shares, each by a slot of its own: `outbox_2_of_4` has every event whose id hashes to the second of
 * four. The slot's name says which share it is, and is all that has to be known.
 */
export interface Share {
  /** OUTBOX_SLOT. */
  readonly outbox: string;
  readonly number: number;
  readonly count: number;
}

/** The hash has 256 values: with 16 shares, the largest is a sixteenth larger than the mean at most. */
export const MAX_SHARES = 16;

/** Of any name in Postgres, which cuts off what is longer. */
export const MAX_SLOT_LENGTH = 63;

/** The share of a slot; undefined where the slot has all events. */
export function shareOf(slot: string): Share | undefined {
  const [, outbox, number, count] = /^(.*)_(\d+)_of_(\d+)$/.exec(slot) ?? [];
  return outbox === undefined ? undefined : { outbox, number: Number(number), count: Number(count) };
}

/** The name of the outbox that a slot delivers, or a share of. */
export const outboxOf = (slot: string): string => shareOf(slot)?.outbox ?? slot;

export const slotOf = ({ outbox, number, count }: Share): string => `${outbox}_${number}_of_${count}`;

/** The slots that deliver an outbox in so many shares; one share is all of it, and has no number. */
export function slotsOf(outbox: string, count: number): string[] {
  if (count === 1) return [outbox];
  return Array.from({ length: count }, (_, index) => slotOf({ outbox, number: index + 1, count }));
}

/** The publication of a slot: of a schema, slots of other names stream the same shares from the same publications. */
export function publicationOf(slot: string, schema: string): string {
  const share = shareOf(slot);
  return share === undefined ? schema : slotOf({ ...share, outbox: schema });
}

/**
 * The row filter of a share's publication, as Postgres writes it. Each event_id has one hash, so each event is in one share. SHA-256
 * spreads ids of any kind, and is the same in every version; it makes up three percent of what decoding costs.
 */
export function filterOf({ number, count }: Share): string {
  return `((get_byte(sha256(uuid_send(event_id)), 0) % ${count}) = ${number - 1})`;
}

/** `2 of 4`, for people. */
export function shareText(slot: string): string {
  const share = shareOf(slot);
  return share === undefined ? 'the whole outbox' : `share ${share.number}/${share.count}`;
}
