import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type pg from 'pg';
import { OutboxError } from '../../errors.ts';

const WEAK = {
  authenticationCleartextPassword: 'in clear text',
  authenticationMD5Password: 'as an MD5 hash',
} as const;
const BOUND = 'SCRAM-SHA-256-PLUS';

export interface LoginOptions {
  /** The server is on this host, or has shown by TLS that it is who it says. */
  readonly isTrusted: boolean;
  /** `channel_binding=require`: only a login that is bound to the TLS connection. */
  readonly mustBind: boolean;
}

/** Of all that a server says before it lets in, its refusal included. */
const MAX_BYTES = 16 * 1024 * 1024;

/**
 * Keeps the driver from giving the password to whoever asks for it. To be called when the driver has begun to connect, and before it
 * has heard anything. Returns what was refused, if anything was; `isOver` says that the server has let in.
 */
export function guardLogin(
  client: pg.Client,
  { isTrusted, mustBind }: LoginOptions,
): (isOver: boolean) => OutboxError | undefined {
  const { connection, ssl } = client as unknown as { connection: EventEmitter & { stream: Socket }; ssl: unknown };
  let refused: OutboxError | undefined;
  let isBound = false;
  const refuse = (detail: string): void => {
    refused ??= new OutboxError('OUTBOX_PG_AUTH', { detail });
    connection.stream.destroy();
  };
  let bytes = 0;
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes <= MAX_BYTES) return;
    const detail = `the server sends more than ${MAX_BYTES} bytes before it lets in`;
    refused ??= new OutboxError('OUTBOX_PG_UNREACHABLE', { detail });
    connection.stream.destroy();
  };
  // the driver keeps a message until it is whole
  connection.once(ssl ? 'sslconnect' : 'connect', () => {
    const { stream } = connection;
    stream.on('data', count);
    connection.once('readyForQuery', () => stream.off('data', count));
  });
  if (!isTrusted || mustBind)
    for (const [event, how] of Object.entries(WEAK)) {
      connection.removeAllListeners(event);
      connection.on(event, () =>
        refuse(
          `the server asks for the password ${how}, and has not shown who it is: use scram-sha-256 there, or sslmode=verify-full here`,
        ),
      );
    }
  if (mustBind) {
    let isOffered = false;
    connection.prependListener('authenticationSASL', ({ mechanisms }: { mechanisms: readonly string[] }) => {
      isOffered = mechanisms.includes(BOUND);
      if (!isOffered) refuse('the server does not offer the channel binding that channel_binding=require asks for');
    });
    // after the driver's own listener, which has then proved that the server knows the password
    connection.on('authenticationSASLFinal', () => {
      isBound = isOffered && (client as unknown as { saslSession: unknown }).saslSession === null;
    });
  }
  return (isOver) => {
    if (isOver && mustBind && !isBound)
      refuse('the server lets in without the channel binding that channel_binding=require asks for');
    return refused;
  };
}
