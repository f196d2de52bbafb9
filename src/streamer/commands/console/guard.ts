import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { OutboxError } from '../../../errors.ts';
import { isLoopback } from '../../loopback.ts';

/** After so many wrong tokens within the time, an address is refused until it is over. */
const MAX_WRONG = 10;
const WRONG_MS = 60_000;
/** Addresses that are remembered; the oldest gives way. */
const MAX_ADDRESSES = 4096;

/** What of a request decides whether it is answered. */
export interface Asked {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** Sec-Fetch-Site, which browsers set and pages cannot. */
  readonly site: string | undefined;
  readonly authorization: string | undefined;
  readonly address: string;
}

/** A request that is not answered, and by which HTTP status. */
export class Refusal extends OutboxError {
  readonly status: number;

  constructor(status: number, code: ConstructorParameters<typeof OutboxError>[0], detail: string) {
    super(code, { detail });
    this.status = status;
  }
}

/** Who may ask. A page of another site may send requests here, under names that it lets point here (DNS rebinding). */
export class Guard {
  readonly #isLocal: boolean;
  readonly #digest: Buffer | undefined;
  readonly #now: () => number;
  readonly #wrong = new Map<string, { count: number; readonly since: number }>();

  /**
   * @param host the address that is listened on
   * @param token empty for none
   * @param now monotonic, ms
   */
  constructor(host: string, token: string, now = (): number => performance.now()) {
    this.#isLocal = isLoopback(host);
    this.#digest = token === '' ? undefined : digestOf(token);
    this.#now = now;
  }

  /** Whether there is a token, without which nothing is changed. */
  get hasToken(): boolean {
    return this.#digest !== undefined;
  }

  /** Throws a Refusal for a request under another name than this host's. */
  checkHost({ host }: Pick<Asked, 'host'>): void {
    if (host === undefined || (this.#isLocal && !isLoopback(URL.parse(`http://${host}`)?.hostname ?? '')))
      throw new Refusal(421, 'OUTBOX_CONSOLE_REQUEST', 'the request names another host than this one');
  }

  /** Throws a Refusal for a request that another site's page sends, and for one without the right token. */
  checkReader(asked: Asked): void {
    this.checkHost(asked);
    const { method, origin, site, host } = asked;
    const isOwn = origin !== undefined && URL.parse(origin)?.host === host;
    const isForeign =
      (origin !== undefined && !isOwn) || (site !== undefined && site !== 'same-origin' && site !== 'none');
    if (isForeign || (method !== 'GET' && !isOwn))
      throw new Refusal(403, 'OUTBOX_CONSOLE_REQUEST', 'the request comes from another site');
    this.#checkToken(asked);
  }

  #checkToken({ authorization = '', address }: Asked): void {
    if (this.#digest === undefined) return;
    const network = networkOf(address);
    const wrong = this.#wrong.get(network);
    const isRecent = wrong !== undefined && this.#now() - wrong.since < WRONG_MS;
    if (isRecent && wrong.count >= MAX_WRONG)
      throw new Refusal(
        429,
        'OUTBOX_CONSOLE_TOKEN',
        'too many wrong tokens from this address; it is refused for a minute',
      );
    const given = authorization.startsWith('Bearer ') ? authorization.slice('Bearer '.length) : undefined;
    if (given !== undefined && timingSafeEqual(digestOf(given), this.#digest)) return;
    if (given === undefined) throw new Refusal(401, 'OUTBOX_CONSOLE_TOKEN', 'the console wants its token');
    if (isRecent) wrong.count++;
    else this.#remember(network);
    throw new Refusal(401, 'OUTBOX_CONSOLE_TOKEN', 'the token is wrong');
  }

  #remember(network: string): void {
    this.#wrong.delete(network);
    this.#wrong.set(network, { count: 1, since: this.#now() });
    const [oldest] = this.#wrong.keys();
    if (this.#wrong.size > MAX_ADDRESSES && oldest !== undefined) this.#wrong.delete(oldest);
  }
}

/** Of one length, as the comparison in constant time wants it. */
function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** One machine may have all addresses of an IPv6 network. */
function networkOf(address: string): string {
  return isIPv6(address) && !address.startsWith('::ffff:') ? address.split(':').slice(0, 4).join(':') : address;
}
