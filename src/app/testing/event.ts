/** An event as its row has it. */
export interface RecordedEvent {
  readonly id: string;
  readonly type: string;
  /** The stored context, parsed: after validation, defaults and redaction. A Date is the text that JSON has for it. */
  readonly context: Record<string, unknown>;
  readonly time: Date;
  readonly environment: string;
  /** A bigint from 2^53 on. */
  readonly metadataVersion: number | bigint;
  readonly subject: string;
  /** `00-<trace id>-<span id>-<flags>`, or null outside a span. */
  readonly traceparent: string | null;
}
