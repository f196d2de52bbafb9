/** In seconds; months and years are as short as they can be. */
const SECONDS: Readonly<Record<string, number>> = {
  Second: 1,
  Minute: 60,
  Hour: 3600,
  Day: 86_400,
  Week: 7 * 86_400,
  Month: 28 * 86_400,
  Quarter: 90 * 86_400,
  Year: 365 * 86_400,
};
/** By how much these bring a date forward. */
const ROUNDED: Readonly<Record<string, number>> = {
  toDate: SECONDS['Day']!,
  toStartOfMinute: SECONDS['Minute']!,
  toStartOfHour: SECONDS['Hour']!,
  toStartOfDay: SECONDS['Day']!,
  toMonday: SECONDS['Week']!,
  toStartOfWeek: SECONDS['Week']!,
  toStartOfMonth: 31 * 86_400,
  toStartOfQuarter: 92 * 86_400,
  toStartOfYear: 366 * 86_400,
};
/** Others that round. */
const ROUNDS = /\b(?:to(?:Date(?!Time)|Monday|StartOf|LastDayOf|YYYYMM)\w*|date_?trunc|time_?slot)\(/gi;
/** What moves rows or packs them, and removes none. */
export const KEEPS = / (?:TO DISK|TO VOLUME|RECOMPRESS)\b/;

/** What removes rows of a table by their age. */
export interface Expiry {
  /** Undefined where it cannot be read. */
  readonly seconds: number | undefined;
  /** It is all that the clause says, and counts from this time of the event. */
  readonly column: string | undefined;
}

/** What a table's TTL says, at the end of its `engine_full` or definition. */
const CLAUSE = / TTL (.*?)(?: SETTINGS .*)?$/s;

/** What removes rows soonest, by the clause TTL of a table's `engine_full`; undefined when nothing does. */
export function expiryOf(definition: string): Expiry | undefined {
  const clause = CLAUSE.exec(withoutTexts(definition))?.[1];
  if (clause === undefined) return undefined;
  const ages = outerParts(clause)
    .filter((part) => !KEEPS.test(part))
    .map((part) => ageOf(part.replace(/ (?:WHERE|GROUP BY) .*$/s, '')));
  if (ages.length === 0) return undefined;
  const seconds = ages.includes(undefined) ? undefined : Math.min(...ages.map((age) => age!));
  const plain = /^(?:toDateTime\()?(event_date_time|committed_at|delivered_at)\)? \+ toInterval\w+\(\d+\)$/.exec(
    clause,
  );
  return { seconds, column: plain?.[1] };
}

/** Counts from when a row was committed or delivered. */
const LATELY =
  /^(?:toDateTime\()?(?:committed_at|delivered_at)(?:, '')?\)? \+ toInterval(?:Day|Week|Month|Quarter|Year)\(\d+\)$/;

/** Whether the TTL of a table's `engine_full` may remove a row as soon as it is there, because its event is old. */
export function expiresAtOnce(definition: string): boolean {
  const clause = CLAUSE.exec(withoutTexts(definition))?.[1];
  if (clause === undefined) return false;
  return outerParts(clause)
    .filter((part) => !KEEPS.test(part))
    .some((part) => !LATELY.test(part.replace(/ (?:WHERE|GROUP BY) .*$/s, '').trim()));
}

/** Each clause of a table's TTL as it stands in its `engine_full`; none where it has no TTL. */
export function ttlClauses(definition: string): string[] {
  // texts of the same length leave every place as it is
  const masked = definition.replaceAll(TEXTS, (text) => `'${'x'.repeat(text.length - 2)}'`);
  const clause = CLAUSE.exec(masked)?.[1];
  if (clause === undefined) return [];
  let at = masked.indexOf(' TTL ') + ' TTL '.length;
  return outerParts(clause).map((part) => {
    const text = definition.slice(at, at + part.length).trim();
    at += part.length + 1;
    return text;
  });
}

/** The columns that a TTL of their own empties, by a table's `create_table_query`. */
export function emptiedColumns(definition: string): string[] {
  const list = /\((`.*)\)\s+ENGINE = /s.exec(withoutTexts(definition))?.[1] ?? '';
  return outerParts(list).flatMap((part) => {
    const [, name] = /^\s*`((?:[^`\\]|\\.)*)` .* TTL /s.exec(part) ?? [];
    return name === undefined ? [] : [name];
  });
}

const TEXTS = /'(?:[^'\\]|\\.)*'/gs;

/** A text may hold any words. */
export function withoutTexts(definition: string): string {
  return definition.replaceAll(TEXTS, "''");
}

/** Undefined for what is no date and intervals that are added to it, such as addDays(…) or a difference. */
function ageOf(part: string): number | undefined {
  const rounded = [...part.matchAll(ROUNDS)].map(([name]) => name.slice(0, -1));
  if (rounded.some((name) => !Object.hasOwn(ROUNDED, name))) return undefined;
  const sooner = Math.max(0, ...rounded.map((name) => ROUNDED[name]!));
  const intervals = [...part.matchAll(/\+ toInterval(\w+)\((\d+)\)/g)];
  if (intervals.length === 0 || / [-*/] /.test(part)) return undefined;
  const later = intervals.reduce((sum, [, unit, count]) => sum + (SECONDS[unit!] ?? 0) * Number(count), 0);
  return Math.max(0, later - sooner);
}

/** Splits at the commas outside brackets. */
function outerParts(clause: string): string[] {
  const parts: string[] = [''];
  let depth = 0;
  for (const character of clause) {
    if (character === '(') depth++;
    else if (character === ')') depth--;
    if (character === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts;
}
