const NOTES = 1000;
const LENGTH = 3200;
const WORDS =
  'please leave the parcel with the neighbour on the second floor or behind the gate when nobody answers customer asked for an invoice with another address delivery was late twice this month gift wrapped fragile handle with care call before noon standard express return label printed refund issued partly voucher applied loyalty level gold silver first order from this device payment confirmed by bank'.split(
    ' ',
  );

/** Texts like those of people, the same in every run. Repetitions of a single letter would compress to nothing. */
export function notes(): string[] {
  let state = 1;
  // https://en.wikipedia.org/wiki/Linear_congruential_generator, with the constants of Numerical Recipes
  const next = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: NOTES }, () => {
    let note = '';
    while (note.length < LENGTH) note += `${WORDS[next(WORDS.length)]} ${next(50) === 0 ? `${next(100_000)} ` : ''}`;
    return note.slice(0, LENGTH);
  });
}

const NOTE_LENGTH = 135;
let texts: readonly string[] | undefined;

/** The context of the n-th event, JSON of about 300 bytes. */
export function contextOf(n: number): Record<string, unknown> {
  texts ??= notes();
  return {
    orderId: n,
    customer: `c-${(n * 7919) % 100_000}`,
    amount: (n % 1000) / 10,
    currency: 'EUR',
    items: n % 7,
    note: texts[n % texts.length]!.slice(0, NOTE_LENGTH),
    nested: { a: n, b: 'text', c: true },
  };
}
