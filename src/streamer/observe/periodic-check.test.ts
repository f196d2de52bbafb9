import { afterEach, expect, test, vi } from 'vitest';
import { PeriodicCheck } from './periodic-check.ts';

afterEach(() => void vi.useRealTimers());

const fail = (error: unknown): void => {
  throw error;
};

test('PeriodicCheck runs at its interval until it is stopped', async () => {
  vi.useFakeTimers();
  let runs = 0;
  const check = new PeriodicCheck(1000, async () => void runs++, fail);
  await vi.advanceTimersByTimeAsync(3500);
  expect(runs).toBe(3);
  check.stop();
  await vi.advanceTimersByTimeAsync(5000);
  expect(runs).toBe(3);
});

test('PeriodicCheck runs once more when it is asked for during a run, however often', async () => {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  let runs = 0;
  const check = new PeriodicCheck(1e9, async () => (++runs === 1 ? gate : undefined), fail);
  const asked = [check.run(), check.run(), check.run()];
  open();
  await Promise.all(asked);
  expect(runs).toBe(2);
  check.stop();
});

test('PeriodicCheck runs again for a caller that asks just as a run ends', async () => {
  let runs = 0;
  const check = new PeriodicCheck(1e9, async () => void runs++, fail);
  await check.run();
  for (let turns = 0; turns < 10; turns++) {
    const before = runs;
    const first = check.run();
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    const asked = runs;
    await check.run();
    expect(runs).toBeGreaterThan(asked);
    expect(runs).toBeGreaterThan(before);
    await first;
  }
  check.stop();
});

test('PeriodicCheck reports a failure once and goes on at its next interval', async () => {
  vi.useFakeTimers();
  const failures: unknown[] = [];
  let runs = 0;
  const check = new PeriodicCheck(
    1000,
    async () => {
      if (++runs === 1) throw new Error('once');
    },
    (error) => void failures.push(error),
  );
  await check.run();
  expect(failures).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1000);
  expect(runs).toBe(2);
  check.stop();
});

test('PeriodicCheck runs again for a caller that asks during a run that fails', async () => {
  const { promise: gate, reject: close } = Promise.withResolvers<void>();
  const failures: unknown[] = [];
  let runs = 0;
  const check = new PeriodicCheck(
    1e9,
    async () => (++runs === 1 ? gate : undefined),
    (error) => void failures.push(error),
  );
  const asked = [check.run(), check.run()];
  close(new Error('once'));
  await Promise.all(asked);
  expect({ runs, failures }).toEqual({ runs: 2, failures: [new Error('once')] });
  check.stop();
});
