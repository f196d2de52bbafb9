/**
 * A streamer gives a sign of life each second, on both of its connections to Postgres. After so long without one it counts as
 * silent: for `/readyz`, for a standby that waits for the slot, for `status` and for `doctor`. It must be longer than the longest
 * stretch for which a streamer that works can be busy (docs/operations.md has the figures).
 */
export const SILENT_AFTER_MS = 5000;

/** An insert takes a second or two. After so long without an answer events are stalled: for `/readyz`, metrics and `status`. */
export const STALLED_AFTER_MS = 15_000;
