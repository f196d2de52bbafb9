/**
 * What the streamer, or the command that meets the error, does about it; and as what telemetry counts it. What repeats,
 * reconnects or stops asks `policyOf(code)`, and keeps no list of codes.
 */
export const POLICIES = {
  throw: {
    does: 'It is thrown into the application, which decides.',
    counted: undefined,
  },
  repeat: {
    does: 'The streamer repeats the same request, with growing pauses, until ClickHouse answers it well. Events wait in Postgres.',
    counted: 'retry',
  },
  isolate: {
    does: 'When it comes back unchanged, the streamer splits the insert until the event stands alone that ClickHouse rejects, and moves that one to `outbox.quarantine` if the table takes another. The others are delivered.',
    counted: 'retry',
  },
  'reconnect soon': {
    does: 'The streamer ends its session and connects again at once, then with pauses that grow from 0.2 s.',
    counted: 'reconnect',
  },
  'reconnect patiently': {
    does: 'The streamer ends its session. Only an operator can fix this, so it checks again with pauses that grow from 5 s.',
    counted: 'reconnect',
  },
  'stand by': {
    does: 'The streamer waits, and takes over when the slot becomes free.',
    counted: undefined,
  },
  stop: {
    does: 'The command ends with an exit code that is not 0.',
    counted: undefined,
  },
  report: {
    does: 'It is logged and shown. Nothing stops because of it.',
    counted: undefined,
  },
} as const satisfies Readonly<Record<string, PolicyEntry>>;

interface PolicyEntry {
  /** For docs/errors.md. */
  readonly does: string;
  /** Which counter it goes into: `outbox.retries` or `outbox.reconnects`. */
  readonly counted: 'retry' | 'reconnect' | undefined;
}

export type Policy = keyof typeof POLICIES;

/** What docs/errors.md says of one code. */
export interface Entry {
  readonly policy: Policy;
  /** The role lacks a privilege. */
  readonly isPrivilege?: true;
  readonly happened: string;
  /** The operator's or developer's next step. */
  readonly next: string;
}

export type Entries = Readonly<Record<`OUTBOX_${string}`, Entry>>;
