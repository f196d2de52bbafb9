/** Helpers for the tests of applications: `pg-outbox-clickhouse/testing`. */
export { type DeliveredOptions, untilDelivered } from './testing/delivered.ts';
export { type EmittedOptions, emittedEvents } from './testing/emitted.ts';
export type { RecordedEvent } from './testing/event.ts';
export type { Queryable, QueryFunction } from './testing/query.ts';
export { createRecorder, type Recorder, type RecorderTransaction } from './testing/recorder.ts';
