import { OutboxError } from '../../errors.ts';
import type { ErrorCode } from '../../errors.ts';

/**
 * What ClickHouse's error codes mean for an insert. The answer of the streamer is the same insert again, unless a row or the
 * size is at fault (`faultOf`); the class decides what the operator is told, and whether the server's words may be repeated.
 *
 * https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
 */
const CLASSES: readonly { readonly code: ErrorCode; readonly codes: readonly number[] }[] = [
  {
    code: 'OUTBOX_CH_UNAVAILABLE',
    codes: [
      159, 160, 173, 198, 202, 203, 209, 210, 216, 225, 236, 241, 242, 243, 244, 254, 279, 285, 286, 319, 364, 394, 425,
      439, 499, 735, 745, 999, 1000,
    ],
  },
  { code: 'OUTBOX_CH_NOT_MIGRATED', codes: [60, 81] },
  { code: 'OUTBOX_CH_AUTH', codes: [192, 193, 194, 497, 516] },
  { code: 'OUTBOX_CH_REFUSED', codes: [16, 36, 47, 48, 62, 115, 164, 452] },
  { code: 'OUTBOX_CH_VIEW_FAILED', codes: [395] },
  {
    code: 'OUTBOX_CH_ROW_REFUSED',
    codes: [6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 131, 167, 306, 321, 349, 376, 441, 469],
  },
];

/** An insert of fewer rows may fit: MEMORY_LIMIT_EXCEEDED, TIMEOUT_EXCEEDED. */
const TOO_LARGE = [241, 159];

/** Whether a refused insert is worth taking apart: a row of it is at fault, or its size. */
export function faultOf({ code, clickhouseCode }: OutboxError): 'row' | 'size' | undefined {
  if (clickhouseCode === undefined) return undefined;
  if (code === 'OUTBOX_CH_ROW_REFUSED') return 'row';
  return code === 'OUTBOX_CH_UNAVAILABLE' && TOO_LARGE.includes(clickhouseCode) ? 'size' : undefined;
}

/** These quote rows in their messages, or may: only code and name are repeated. */
const MAY_QUOTE_ROWS: ReadonlySet<ErrorCode> = new Set([
  'OUTBOX_CH_ROW_REFUSED',
  'OUTBOX_CH_VIEW_FAILED',
  'OUTBOX_CH_FAILED',
]);

/** Of whatever class: what a function says about its arguments, in a view or a DEFAULT, quotes them. */
const BAD_ARGUMENTS = 36;

/**
 * @param code ClickHouse's number, 0 when it gave none
 * @param name its name, such as TOO_MANY_PARTS
 */
export function refusal(code: number, name: string, message: string): OutboxError {
  const kind = classOf(code, message);
  const mayQuote = MAY_QUOTE_ROWS.has(kind) || code === BAD_ARGUMENTS || message.includes('while executing');
  const said = mayQuote ? '' : `: ${message.slice(0, 300)}`;
  return new OutboxError(kind, { detail: `ClickHouse answered ${code} ${name}${said}`, clickhouseCode: code });
}

function classOf(code: number, message: string): ErrorCode {
  // one code for two faults: too many parts passes, too many partitions in one insert does not
  if (code === 252) return message.includes('Too many partitions') ? 'OUTBOX_CH_REFUSED' : 'OUTBOX_CH_UNAVAILABLE';
  const known = CLASSES.find(({ codes }) => codes.includes(code))?.code ?? 'OUTBOX_CH_FAILED';
  // a view fails under whatever code its query ran into; 395 is only the one of throwIf
  return known !== 'OUTBOX_CH_UNAVAILABLE' && message.includes('while pushing to view')
    ? 'OUTBOX_CH_VIEW_FAILED'
    : known;
}
