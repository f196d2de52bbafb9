import { inspect } from 'node:util';
import { expect } from 'vitest';
import { OutboxError } from '../errors.ts';
import { emitEvent } from './emit.ts';
import type { AnyEvent } from './events.ts';
import type { StandardSchema } from './standard-schema.ts';
import { createRecorder } from './testing.ts';

export const CANARY = 'canary-5e1f';

/** The context that is stored when the event is emitted. */
export async function stored(event: AnyEvent): Promise<unknown> {
  const recorder = createRecorder();
  await emitEvent(recorder.transaction(), event);
  return recorder.events[0]?.context;
}

/** The problems with which `emitEvent` rejects the event. No field of the error holds the canary. */
export async function problemsOf(event: AnyEvent): Promise<readonly string[]> {
  const recorder = createRecorder();
  const error: unknown = await emitEvent(recorder.transaction(), event).catch((thrown: unknown) => thrown);
  if (!(error instanceof OutboxError)) throw new Error('no OutboxError');
  expect(error.code).toBe('OUTBOX_EVENT_INVALID');
  expect(inspect(error, { depth: null, showHidden: true }) + JSON.stringify(error)).not.toContain(CANARY);
  expect(recorder.events).toEqual([]);
  return error.problems;
}

/** A schema made of a function alone, which can answer anything. */
export function schemaOf<Output>(
  validate: (value: unknown) => unknown,
  vendor = 'by hand',
): StandardSchema<unknown, Output> {
  return {
    '~standard': { version: 1, vendor, validate: validate as StandardSchema<unknown, Output>['~standard']['validate'] },
  };
}
