import { OutboxError, type ErrorCode } from '../../errors.ts';

/** What an answer of ClickHouse says of an insert, beside its code. */
interface Meaning {
  readonly code: ErrorCode;
  /** A row of the insert is at fault, or its size: fewer rows may pass. */
  readonly fault?: 'row' | 'size';
  /** The insert may be committed all the same, now or later. */
  readonly outcome?: 'unknown';
  /** The server's message quotes rows, or may: only code and name are repeated. */
  readonly quotesRows?: true;
}

/**
 * ClickHouse's error numbers. The streamer's answer is the same insert again, unless a row or the size is at fault.
 *
 * https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
 */
const MEANINGS: readonly (Meaning & { readonly numbers: readonly number[] })[] = [
  {
    code: 'OUTBOX_CH_UNAVAILABLE',
    numbers: [160, 173, 198, 202, 203, 216, 225, 236, 242, 243, 244, 254, 279, 285, 286, 364, 439, 499, 735, 745],
  },
  // NETWORK_ERROR, SOCKET_TIMEOUT, UNKNOWN_STATUS_OF_INSERT, QUERY_WAS_CANCELLED, and Keeper's
  { code: 'OUTBOX_CH_UNAVAILABLE', outcome: 'unknown', numbers: [209, 210, 319, 394, 425, 999, 1000] },
  // MEMORY_LIMIT_EXCEEDED, TIMEOUT_EXCEEDED
  { code: 'OUTBOX_CH_UNAVAILABLE', fault: 'size', numbers: [241, 159] },
  { code: 'OUTBOX_CH_NOT_MIGRATED', numbers: [60, 81] },
  { code: 'OUTBOX_CH_AUTH', numbers: [192, 193, 194, 497, 516] },
  { code: 'OUTBOX_CH_REFUSED', numbers: [16, 47, 48, 62, 115, 164, 452] },
  // BAD_ARGUMENTS: what a function says about its arguments, in a view or a DEFAULT, quotes them
  { code: 'OUTBOX_CH_REFUSED', quotesRows: true, numbers: [36] },
  { code: 'OUTBOX_CH_VIEW_FAILED', quotesRows: true, numbers: [395] },
  {
    code: 'OUTBOX_CH_ROW_REFUSED',
    fault: 'row',
    quotesRows: true,
    numbers: [6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 167, 306, 321, 349, 376, 441, 469],
  },
];
const UNAVAILABLE: Meaning = { code: 'OUTBOX_CH_UNAVAILABLE' };
const REFUSED: Meaning = { code: 'OUTBOX_CH_REFUSED' };
const VIEW_FAILED: Meaning = { code: 'OUTBOX_CH_VIEW_FAILED', quotesRows: true };
const UNKNOWN_CODE: Meaning = { code: 'OUTBOX_CH_FAILED', quotesRows: true };

/** An answer of ClickHouse, or of whatever stands before it, that an insert or a question did not succeed. */
export class ClickHouseRefusal extends OutboxError {
  readonly fault: 'row' | 'size' | undefined;
  readonly isOutcomeUnknown: boolean;

  constructor({ code, fault, outcome }: Meaning, detail: string, clickhouseCode: number) {
    super(code, { detail, clickhouseCode });
    this.fault = fault;
    this.isOutcomeUnknown = outcome === 'unknown';
  }
}

/**
 * @param number ClickHouse's error number, 0 when it gave none
 * @param name its name, such as TOO_MANY_PARTS
 */
export function refusal(number: number, name: string, message: string): ClickHouseRefusal {
  const meaning = meaningOf(number, message);
  const mayQuote = meaning.quotesRows === true || message.includes('while executing');
  const said = mayQuote ? '' : `: ${message.slice(0, 300)}`;
  return new ClickHouseRefusal(meaning, `ClickHouse answered ${number} ${name}${said}`, number);
}

function meaningOf(number: number, message: string): Meaning {
  // one number for two faults: too many parts passes, too many partitions in one insert does not
  if (number === 252) return message.includes('Too many partitions') ? REFUSED : UNAVAILABLE;
  const known = MEANINGS.find(({ numbers }) => numbers.includes(number)) ?? UNKNOWN_CODE;
  // a view fails under whatever number its query ran into; 395 is only the one of throwIf
  return known.code !== 'OUTBOX_CH_UNAVAILABLE' && message.includes('while pushing to view') ? VIEW_FAILED : known;
}
