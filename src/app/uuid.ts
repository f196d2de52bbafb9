import { randomFillSync } from 'node:crypto';

/** Two random bytes seed the counter, eight are rand_b. */
const RANDOM_BYTES = 10;

// A call to the CSPRNG costs more than all other work for an id, so one call serves 400 ids.
const random = Buffer.allocUnsafe(RANDOM_BYTES * 400);
let used = random.length;

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

let lastMs = 0;
let counter = 0;

/**
 * A UUIDv7 in its canonical lower-case form (RFC 9562, section 5.7): 48 bits of Unix milliseconds, a 12-bit counter, 62
 * random bits.
 *
 * The ids of one thread always grow, also within a millisecond and when the clock goes back. The counter starts in the
 * lower half of its range each millisecond, and borrows the next millisecond when it is full (section 6.2, method 1).
 * Between threads and processes, the clocks decide the order.
 */
export function uuidv7(now: number = Date.now()): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  const at = used;
  used += RANDOM_BYTES;

  if (now > lastMs) {
    lastMs = now;
    counter = random.readUInt16BE(at) & 0x7ff;
  } else if (counter < 0xfff) {
    counter += 1;
  } else {
    lastMs += 1;
    counter = random.readUInt16BE(at) & 0x7ff;
  }

  const high = Math.floor(lastMs / 0x1_0000);
  const low = lastMs % 0x1_0000;
  return `${hex(high >>> 24)}${hex(high >>> 16)}${hex(high >>> 8)}${hex(high)}-${hex(low >>> 8)}${hex(low)}-${hex(
    0x70 | (counter >>> 8),
  )}${hex(counter)}-${hex(0x80 | (random[at + 2]! & 0x3f))}${hex(random[at + 3]!)}-${hex(random[at + 4]!)}${hex(
    random[at + 5]!,
  )}${hex(random[at + 6]!)}${hex(random[at + 7]!)}${hex(random[at + 8]!)}${hex(random[at + 9]!)}`;
}

function hex(byte: number): string {
  return HEX[byte & 0xff]!;
}
