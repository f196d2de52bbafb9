/**
 * The rooms of src/streamer, from the ground up, and which of the rooms below each may use. The lint rules (oxlint.config.ts) hold
 * the code to it. What a room is for stands in the README of its folder.
 */
export const ROOMS: Readonly<Record<string, readonly string[]>> = {
  observe: [],
  source: ['observe'],
  clickhouse: ['observe'],
  batch: ['observe', 'source', 'clickhouse'],
  ledger: ['observe', 'source', 'batch'],
  delivery: ['observe', 'batch', 'clickhouse', 'ledger'],
  compare: ['source', 'batch', 'clickhouse', 'ledger'],
  repair: ['observe', 'source', 'batch', 'clickhouse', 'ledger', 'delivery', 'compare'],
  retention: ['observe', 'source', 'clickhouse', 'ledger'],
  manifests: ['observe', 'source', 'clickhouse', 'ledger', 'compare', 'retention'],
  erase: ['observe', 'source', 'clickhouse', 'ledger', 'delivery', 'compare', 'repair', 'retention'],
  telemetry: ['observe', 'clickhouse'],
};

/** The engine: it stands above the rooms, in src/streamer itself, and only the commands use it. Read top-down in this order. */
export const ENGINE: readonly string[] = ['run', 'stream', 'session', 'loop', 'acks', 'progress', 'gauges'];
