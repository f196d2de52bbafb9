/** What docs/errors.md says of one code. */
export interface Entry {
  readonly happened: string;
  /** The operator's or developer's next step. */
  readonly next: string;
}

export type Entries = Readonly<Record<`OUTBOX_${string}`, Entry>>;
