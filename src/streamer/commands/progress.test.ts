import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ProgressDisplay } from './progress.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function display(terminal: { isTTY: boolean; columns: number }): { shown: ProgressDisplay; written: string[] } {
  const written: string[] = [];
  const write = (text: unknown): boolean => written.push(String(text)) > 0;
  return { shown: new ProgressDisplay({ ...terminal, write }, 5000), written };
}

test('on a terminal, progress is one line that is written over, and gone at the end', () => {
  const { shown, written } = display({ isTTY: true, columns: 200 });
  shown.show({ step: 'comparing', done: 0, of: 1_000_000 });
  vi.advanceTimersByTime(999);
  shown.show({ step: 'comparing', done: 250_000, of: 1_000_000 });
  vi.advanceTimersByTime(1);
  shown.close();
  expect(written).toEqual([
    '\r\u001B[2Kcomparing events, 0 % of 1,000,000, 0 a second, 0 s so far',
    '\r\u001B[2Kcomparing events, 25 % of 1,000,000, 250,000 a second, 3 s left, 1 s so far',
    '\r\u001B[2K',
  ]);
});

test('progress shows the part of a large table that is counted, and nothing of it afterwards', () => {
  const { shown, written } = display({ isTTY: true, columns: 200 });
  shown.show({ step: 'counting' });
  shown.show({ step: 'counting', done: 0, of: 2_000_000_000 });
  shown.show({ step: 'counting', done: 500_000_000, of: 2_000_000_000 });
  vi.advanceTimersByTime(1000);
  shown.show({ step: 'counting', done: 2_000_000_000, of: 2_000_000_000 });
  vi.advanceTimersByTime(1000);
  shown.show({ step: 'comparing types' });
  shown.close();
  expect(written.slice(1, 4)).toEqual([
    '\r\u001B[2Kcomparing hours, 25 % of 2,000 MB, 500 MB a second, 3 s left, 1 s so far',
    '\r\u001B[2Kcomparing hours, ClickHouse still counts, 2 s so far',
    '\r\u001B[2Kcomparing event_context with its text, in ClickHouse, 0 s so far',
  ]);
});

test('on a narrow terminal, the line of progress is cut to what fits', () => {
  const { shown, written } = display({ isTTY: true, columns: 20 });
  shown.show({ step: 'waiting for delivery', atMostMs: 60_000 });
  shown.close();
  expect(written[0]).toBe('\r\u001B[2Kwaiting for the str');
});

test('off a terminal, a wait is told at once and anything else at most once every so often', () => {
  const { shown, written } = display({ isTTY: false, columns: 20 });
  shown.show({ step: 'waiting for inserts', atLeastMs: 65_000 });
  shown.show({ step: 'counting' });
  for (let done = 0; done < 1000; done++) shown.show({ step: 'comparing', done, of: 10_000 });
  vi.advanceTimersByTime(5000);
  for (let done = 1000; done <= 2000; done++) shown.show({ step: 'comparing', done, of: 10_000 });
  shown.show({ step: 'sending what is missing' });
  vi.advanceTimersByTime(5000);
  shown.close();
  vi.advanceTimersByTime(5000);
  expect(written).toEqual([
    'waiting until no earlier insert can be under way, at least 65 s, 0 s so far\n',
    'comparing events, 9 % of 10,000, 200 a second, 45 s left, 5 s so far\n',
    'sending what is missing, 20 % of 10,000, 200 a second, 40 s left, 5 s so far\n',
  ]);
});
