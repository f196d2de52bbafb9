import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_TRACE_LINKS } from '../settings.ts';
import { Producers } from './producers.ts';

const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const traceparent = fc
  .tuple(hex(32), hex(16), fc.constantFrom('00', '01', '02', '03', 'ff', 'fe'))
  .map(([traceId, spanId, flags]) => `00-${traceId}-${spanId}-${flags}`);

function remember(traceparents: readonly string[]): Producers {
  const producers = new Producers();
  traceparents.forEach((text, row) => producers.add(Buffer.from(`..${text}`), 2, row));
  return producers;
}

test('Producers remembers every sampled producer once, in the order of its first event, with its number of events', () => {
  fc.assert(
    fc.property(fc.array(traceparent, { maxLength: 60 }), (list) => {
      const sampled = list.filter((text) => ['01', '03', 'ff'].includes(text.slice(-2)));
      expect(remember([...list, ...list]).list()).toEqual(
        [...new Set(sampled)].map((text) => ({
          traceparent: text,
          row: list.indexOf(text),
          events: 2 * sampled.filter((other) => other === text).length,
        })),
      );
    }),
  );
});

test('Producers counts events beyond the limit, and does not remember their producers', () => {
  const list = Array.from(
    { length: MAX_TRACE_LINKS + 30 },
    (_, i) => `00-${'a'.repeat(32)}-${String(i).padStart(16, '0')}-01`,
  );
  const producers = remember([...list, ...list]);
  expect(producers.list().map(({ traceparent: text }) => text)).toEqual(list.slice(0, MAX_TRACE_LINKS));
  expect(producers.unremembered).toBe(60);
});
