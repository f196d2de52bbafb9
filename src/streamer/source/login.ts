import type { EventEmitter } from 'node:events';
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

/**
 * Keeps the driver from giving the password to whoever asks for it. To be called when the driver has begun to connect, and before it
 * has heard anything. Returns what was refused, if anything was; `isOver` says that the server has let in.
 */
export function guardLogin(
  client: pg.Client,
  { isTrusted, mustBind }: LoginOptions,
): (isOver: boolean) => OutboxError | undefined {
  const { connection } = client as unknown as { connection: EventEmitter & { stream: { destroy: () => void } } };
  let refused: OutboxError | undefined;
  let isBound = false;
  const refuse = (detail: string): void => {
    refused ??= new OutboxError('OUTBOX_PG_AUTH', { detail });
    connection.stream.destroy();
  };
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
