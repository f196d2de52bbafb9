import { OutboxError, type ErrorCode } from '../../errors.ts';
import { shortened } from '../../server-message.ts';

/** What an answer of ClickHouse says of an insert, beside its code. */
interface Meaning {
  readonly code: ErrorCode;
  /**
   * What fewer rows may be free of: `row`, a row or the table is at fault; `size`, so many rows are never taken; `load`, memory or
   * time is short now, or a row takes more of it than there is.
   */
  readonly fault?: 'row' | 'size' | 'load';
  /** The insert may be committed all the same, now or later. */
  readonly outcome?: 'unknown';
  /** The server's message quotes rows, or may: only code and name are repeated. */
  readonly quotesRows?: true;
}

/**
 * Those of ClickHouse's error numbers that say that no row is at fault, unless a function that was given rows threw them. All others may
 * be a row's: any function in a DEFAULT, a MATERIALIZED column or a constraint may throw any of them.
 *
 * https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
 */
const MEANINGS: readonly (Meaning & { readonly numbers: readonly number[] })[] = [
  {
    code: 'OUTBOX_CH_UNAVAILABLE',
    numbers: [75, 160, 173, 198, 201, 202, 203, 216, 236, 243, 244, 254, 279, 364, 439, 499, 700, 735, 745],
  },
  // CANNOT_READ_ALL_DATA: the body was cut short on its way
  { code: 'OUTBOX_CH_UNAVAILABLE', quotesRows: true, numbers: [33] },
  // NETWORK_ERROR, SOCKET_TIMEOUT, QUERY_WAS_CANCELLED, SYSTEM_ERROR, POCO_EXCEPTION
  { code: 'OUTBOX_CH_UNAVAILABLE', outcome: 'unknown', numbers: [209, 210, 394, 425, 1000] },
  // TOO_FEW_LIVE_REPLICAS, UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
  { code: 'OUTBOX_CH_QUORUM', outcome: 'unknown', numbers: [285, 286] },
  // NO_ZOOKEEPER, TABLE_IS_READ_ONLY
  { code: 'OUTBOX_CH_KEEPER_AWAY', numbers: [225, 242] },
  // UNKNOWN_STATUS_OF_INSERT, KEEPER_EXCEPTION
  { code: 'OUTBOX_CH_KEEPER_AWAY', outcome: 'unknown', numbers: [319, 999] },
  // MEMORY_LIMIT_EXCEEDED, TIMEOUT_EXCEEDED
  { code: 'OUTBOX_CH_UNAVAILABLE', fault: 'load', numbers: [241, 159] },
  { code: 'OUTBOX_CH_NOT_MIGRATED', numbers: [60, 81] },
  { code: 'OUTBOX_CH_AUTH', numbers: [192, 193, 194, 497, 516] },
  { code: 'OUTBOX_CH_REFUSED', numbers: [16, 47, 62, 115, 164, 452] },
];
/** What ClickHouse says of a function that threw while it worked on rows; a function that the statement lacks or may not use is told before. */
const FUNCTION_THREW = "while executing 'FUNCTION ";
/** What ClickHouse says where a replica answers that was not seen to be up to date (current.ts). */
export const OTHER_REPLICA = 'outbox: another replica';
const PASSING: ReadonlySet<ErrorCode> = new Set(['OUTBOX_CH_UNAVAILABLE', 'OUTBOX_CH_KEEPER_AWAY', 'OUTBOX_CH_QUORUM']);
const UNAVAILABLE: Meaning = { code: 'OUTBOX_CH_UNAVAILABLE' };
const QUORUM_UNVERIFIED: Meaning = { code: 'OUTBOX_CH_QUORUM', outcome: 'unknown' };
const TOO_MANY_PARTITIONS: Meaning = { code: 'OUTBOX_CH_REFUSED', fault: 'size' };
/** By its words, which a row may have put there: that its rows are in the table proves it. */
const VIEW_FAILED: Meaning = { code: 'OUTBOX_CH_VIEW_FAILED', fault: 'row', quotesRows: true };
/** It is said before any row is looked at. */
const VIEW_WITHOUT_TARGET: Meaning = { code: 'OUTBOX_CH_VIEW_FAILED' };
const ROW_REFUSED: Meaning = { code: 'OUTBOX_CH_ROW_REFUSED', fault: 'row', quotesRows: true };
const ASKED_ANOTHER: Meaning = { code: 'OUTBOX_CH_REPLICA_BEHIND' };
const QUESTION_FAILED: Meaning = { code: 'OUTBOX_CH_FAILED', quotesRows: true };

const VIOLATED_CONSTRAINT = 469;
const PAYLOAD_TOO_LARGE = 413;
const REQUEST_TIMEOUT = 408;
const SERVER_ERROR = 500;

/** An answer of ClickHouse, or of whatever stands before it, that an insert or a question did not succeed. */
export class ClickHouseRefusal extends OutboxError {
  readonly fault: Meaning['fault'];
  readonly isOutcomeUnknown: boolean;
  readonly #meaning: Meaning;

  constructor(meaning: Meaning, detail: string, clickhouseCode?: number, problems: readonly string[] = []) {
    const { code, fault, outcome } = meaning;
    super(code, { detail, problems, ...(clickhouseCode === undefined ? {} : { clickhouseCode }) });
    this.#meaning = meaning;
    this.fault = fault;
    this.isOutcomeUnknown = outcome === 'unknown';
  }

  /** The same refusal, with what ClickHouse did not say. */
  about(problems: readonly string[]): ClickHouseRefusal {
    return new ClickHouseRefusal(this.#meaning, this.message, this.clickhouseCode, problems);
  }
}

export interface Refused {
  /** ClickHouse's error number. */
  readonly number: number;
  /** Its name, such as TOO_MANY_PARTS. */
  readonly name: string;
  readonly message: string;
  readonly request: 'insert' | 'question';
}

export function refusal(refused: Refused): ClickHouseRefusal {
  const { number, name, message } = refused;
  const meaning = meaningOf(refused);
  const mayQuote = meaning.quotesRows === true || message.includes('while executing');
  const said = mayQuote || message === '' ? constraintOf(refused) : `: ${shortened(message)}`;
  return new ClickHouseRefusal(meaning, `ClickHouse answered ${number} ${name}${said}`, number);
}

/** The name of a constraint is the table's, and ClickHouse says it before it quotes the row. */
function constraintOf({ number, message }: Refused): string {
  const [, name] =
    number === VIOLATED_CONSTRAINT ? (/^Constraint `([\w.-]{1,64})` for table /.exec(message) ?? []) : [];
  return name === undefined ? '' : `, constraint ${name}`;
}

/** An answer that is not ClickHouse's. @param server the header of that name */
export function foreignRefusal(status: number, server: string): ClickHouseRefusal {
  const author = /^[\w./ ()-]{1,60}$/.exec(server)?.[0];
  const meaning: Meaning = {
    code: 'OUTBOX_CH_PROXY',
    ...(status === PAYLOAD_TOO_LARGE ? { fault: 'size' } : {}),
    // it may have passed the insert on
    ...(status >= SERVER_ERROR || status === REQUEST_TIMEOUT ? { outcome: 'unknown' } : {}),
  };
  const by = author === undefined ? 'not by ClickHouse' : `by ${author}, not by ClickHouse`;
  return new ClickHouseRefusal(meaning, `HTTP status ${status}, answered ${by}`);
}

function meaningOf({ number, message, request }: Refused): Meaning {
  // one number for two faults: too many parts passes, too many partitions in one insert does not
  if (number === 252) return message.includes('Too many partitions') ? TOO_MANY_PARTITIONS : UNAVAILABLE;
  // UNKNOWN_STATUS_OF_INSERT and NO_ACTIVE_REPLICAS are also said where the others have not fetched it in time
  if ((number === 319 || number === 254) && message.includes('quorum')) return QUORUM_UNVERIFIED;
  // UNKNOWN_TABLE is also what ClickHouse says of a table that a view fills, before it comes to any view
  if (number === 60 && /^Target table .+ of view /.test(message)) return VIEW_WITHOUT_TARGET;
  if (number === 395 && request === 'question' && message.includes(OTHER_REPLICA)) return ASKED_ANOTHER;
  const known = MEANINGS.find(({ numbers }) => numbers.includes(number));
  // an outage is also told where a function needs what is away, such as a dictionary; a body that was cut short is not
  const isOutage = known !== undefined && PASSING.has(known.code) && known.quotesRows !== true;
  // a view fails under whatever number its query ran into
  if (!isOutage && message.includes('while pushing to view')) return VIEW_FAILED;
  if (!isOutage && request === 'insert' && message.includes(FUNCTION_THREW)) return ROW_REFUSED;
  return known ?? (request === 'insert' ? ROW_REFUSED : QUESTION_FAILED);
}
