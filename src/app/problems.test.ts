import { expect, test, vi } from 'vitest';
import { serialiseContext } from './context.ts';
import { knownOnly } from './fields.ts';
import { Problems } from './problems.ts';
import { validated } from './validate.ts';

const MANY = 1000;

test('Problems makes the texts of those that it names, and of no other', () => {
  const problems = new Problems();
  const path = vi.fn<() => string>(() => 'a');
  const fault = vi.fn<() => string>(() => 'is wrong');
  for (let i = 0; i < MANY; i += 1) problems.add(path, fault);
  expect(problems.list().slice(-2)).toEqual(['a: is wrong', `… and ${MANY - Problems.LIMIT} more`]);
  expect([path.mock.calls.length, fault.mock.calls.length]).toEqual([Problems.LIMIT, Problems.LIMIT]);
});

test('an event with many faults costs the paths of those that are named', () => {
  const odd = 'an odd key';
  const context = { [odd]: { [odd]: Array.from({ length: MANY }, () => Number.NaN) } };
  const problems = new Problems();
  const quoted = vi.spyOn(JSON, 'stringify');
  serialiseContext(context, 'context', 1_000_000, problems);
  expect(problems.count).toBe(MANY);
  expect(quoted.mock.calls.length).toBe(2 * Problems.LIMIT);

  quoted.mockClear();
  const unknown = Object.fromEntries(Array.from({ length: MANY }, (_, n) => [`${odd} ${n}`, n]));
  knownOnly(unknown, 'event', ['type', 'time'], 'an event', new Problems());
  expect(quoted.mock.calls.length).toBe(Problems.LIMIT);
  quoted.mockRestore();
});

test('the issues of a schema are read as far as they are named', () => {
  let read = 0;
  const issue = {
    message: '',
    get path() {
      read += 1;
      return ['a'];
    },
  };
  const validate = (): { issues: (typeof issue)[] } => ({ issues: Array.from({ length: MANY }, () => issue) });
  const schema = { '~standard': { version: 1, vendor: 'x', validate } } as const;
  const problems = new Problems();
  validated({ type: 'a', version: 1, schema, subject: undefined }, { a: 1 }, 'context', 1000, problems);
  expect(problems.count).toBe(MANY);
  expect(read).toBeLessThanOrEqual(2 * Problems.LIMIT);
});
