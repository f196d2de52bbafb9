import type { Setting } from './setting.ts';

/** Settings of the command `console` alone. */
export const CONSOLE_SETTINGS = {
  OUTBOX_CONSOLE_HOST: {
    key: 'consoleHost',
    readBy: 'console',
    kind: 'text',
    default: '127.0.0.1',
    pattern: /^(?:\*|[0-9a-fA-F.:]{2,45})$/,
    form: 'an IP address of this host, or *',
    meaning:
      'The address on which the console listens; `*` is all of them. Any other than a loopback address needs OUTBOX_CONSOLE_TOKEN. On a loopback address, a request under another name than `localhost` or a loopback address is refused (421): a web page could have sent it.',
  },
  OUTBOX_CONSOLE_PORT: {
    key: 'consolePort',
    readBy: 'console',
    kind: 'integer',
    unit: 'port',
    default: 8090,
    min: 0,
    max: 65_535,
    meaning: 'The port on which the console listens; 0 is any free one, which the log names.',
  },
  OUTBOX_CONSOLE_TOKEN: {
    key: 'consoleToken',
    readBy: 'console',
    kind: 'secret',
    default: '',
    pattern: /^[\w.~+/=-]{16,512}$/,
    form: '16 to 512 of A-Z, a-z, 0-9 and -._~+/=',
    meaning:
      'What a reader must type in before the console shows anything. Without it, everyone who can log in to this host can read, and nobody can retry or discard events. Make one with `openssl rand -hex 24`.',
  },
  OUTBOX_CONSOLE_PAYLOADS: {
    key: 'consolePayloads',
    readBy: 'console',
    kind: 'choice',
    choices: ['off', 'on'],
    default: 'off',
    meaning:
      'Whether the console shows contexts, and searches in them. Off: an event shows its columns, and of its context the keys, types and size.',
  },
  OUTBOX_CONSOLE_TRACE_URL: {
    key: 'consoleTraceUrl',
    readBy: 'console',
    kind: 'text',
    default: '',
    pattern: /^https?:\/\/[^\s{}"<>]+\{trace_id\}[^\s{}"<>]*$/,
    form: 'a URL with {trace_id} in it',
    meaning: 'Where an event links to for its trace, such as `http://localhost:16686/trace/{trace_id}` for Jaeger.',
  },
} as const satisfies Record<string, Setting>;
