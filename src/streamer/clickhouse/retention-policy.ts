/** OUTBOX_CLICKHOUSE_RETENTION: which events ClickHouse keeps for how long, and the TTL that says so. */
import { literal } from './literal.ts';

/** A year of the setting, in days. */
const YEAR = 365;
/** DateTime ends in 2106: an expiry beyond it would wrap to 1970, and every event would be expired. */
const MAX_DAYS = 30 * YEAR;

/** What a condition may name, and the column that it is about. */
const COLUMNS: Readonly<Record<string, string>> = {
  type: 'event_type',
  environment: 'environment',
  subject: 'subject',
};
const NAMES = Object.keys(COLUMNS).join(', ');
const CONDITION = /^(\w+)=(?:"([^"]*)"|([^\s"]*))(?:\s+|$)/;

export interface Condition {
  readonly column: string;
  readonly value: string;
  /** The value is how it begins. */
  readonly isPrefix: boolean;
}

interface Rule {
  /** All of them must hold. */
  readonly conditions: readonly Condition[];
  /** 0: forever. */
  readonly days: number;
}

/** An event that fits a rule with `forever` is kept; otherwise the first rule that it fits counts, and the last fits all. */
export interface RetentionPolicy {
  readonly rules: readonly Rule[];
}

/** For how many days Postgres may have an event, by OUTBOX_RETENTION_DAYS; 0 where nothing is removed there, and nobody here knows. */
export function outboxKeepsDays(retentionDays: number): number {
  return retentionDays === 0 ? 0 : retentionDays + 1;
}

/**
 * Reads a policy such as `subject=order/7:forever, environment=staging:30d, type=debug.*:14d, default:2y`. Problems are words to follow
 * the setting's name; they name rules by number, and quote nothing. With problems, the policy must not be used.
 *
 * @param leastDays how long Postgres may still have an event: ClickHouse must keep it for as long, or `repair` would send it again
 */
export function readPolicy(text: string, leastDays: number): { policy: RetentionPolicy; problems: string[] } {
  const problems: string[] = [];
  const rules: Rule[] = [];
  const texts = [...text.matchAll(/(?:^|,)((?:"[^"]*"|[^,])*)/g)].map(([, rule]) => rule!.trim());
  for (const [index, rule] of texts.entries()) {
    const read = readRule(rule);
    const found = typeof read === 'string' ? read : faultOf(read, rules, index === texts.length - 1, leastDays);
    if (found !== undefined) problems.push(`rule ${index + 1} ${found}`);
    rules.push(typeof read === 'string' ? NO_RULE : read);
  }
  return { policy: { rules }, problems };
}

/** Holds a number for what could not be read: it covers nothing. */
const NO_RULE: Rule = { conditions: [{ column: '', value: '', isPrefix: false }], days: 1 };

/** A rule, or what is wrong with it. */
function readRule(text: string): Rule | string {
  if (text === '') return 'is empty';
  const [, left, count, unit] = /^(.*):\s*(?:(\d{1,5})([dy])|forever)$/s.exec(text) ?? [];
  if (left === undefined) return 'must end in a colon and a time: 30d, 2y or forever';
  const days = count === undefined ? 0 : Number(count) * (unit === 'y' ? YEAR : 1);
  if (count !== undefined && (days === 0 || days > MAX_DAYS))
    return 'must keep events for 1d to 30y; what is to stay longer is kept forever';
  if (left.trim() === 'default') return { conditions: [], days };
  const conditions: Condition[] = [];
  for (let rest = left.trim(); rest !== '';) {
    const [all, name, inQuotes, plain] = CONDITION.exec(rest) ?? [];
    const column = COLUMNS[name ?? ''];
    if (all === undefined || column === undefined)
      return `must be conditions such as type=order.* (${NAMES}), with blanks between them and the value in double quotes if it has a blank or a comma; or default`;
    if (conditions.some((other) => other.column === column)) return `has two conditions on ${name}`;
    const given = inQuotes ?? plain!;
    const isPrefix = given.endsWith('*');
    const value = isPrefix ? given.slice(0, -1) : given;
    if (value.includes('*')) return 'has a * that is not the last character of a value';
    if (isPrefix && value === '') return 'has a * without anything before it, which fits all: say default';
    conditions.push({ column, value, isPrefix });
    rest = rest.slice(all.length);
  }
  return conditions.length === 0 ? 'has no condition: give one, or default' : { conditions, days };
}

/** What is wrong with a rule behind others. */
function faultOf(rule: Rule, before: readonly Rule[], isLast: boolean, leastDays: number): string | undefined {
  if (rule.conditions.length === 0 && !isLast) return 'is the default, which must be the last';
  // what is kept forever goes before all others, wherever it stands
  const first = before.findIndex((other) => covers(other, rule) && (rule.days > 0 || other.days === 0));
  if (first >= 0) return `never counts: rule ${first + 1} fits all of its events`;
  if (rule.days > 0 && rule.days < leastDays)
    return `must keep events for ${leastDays}d at least: so long Postgres may have them (OUTBOX_RETENTION_DAYS and a day), and \`repair\` would send them again`;
  return undefined;
}

/** Whether a rule fits every event that another one fits. */
function covers(one: Rule, other: Rule): boolean {
  return (
    one.conditions.length > 0 &&
    one.conditions.every(({ column, value, isPrefix }) =>
      other.conditions.some(
        (condition) =>
          condition.column === column &&
          (isPrefix ? condition.value.startsWith(value) : !condition.isPrefix && condition.value === value),
      ),
    )
  );
}

/** The rules by which events are kept forever, each by its conditions; not the default, which holds nothing. */
export function holdsOf({ rules }: RetentionPolicy): (readonly Condition[])[] {
  return rules
    .filter(({ conditions, days }) => days === 0 && conditions.length > 0)
    .map(({ conditions }) => conditions);
}

/** What begins each of our clauses; a person has no reason to name a column's own time zone. */
const AGE = "toDateTime(committed_at, 'UTC') + toIntervalDay(";
const OURS = /^toDateTime\(committed_at, ''\) \+ toIntervalDay\(\d+\)(?: WHERE multiIf\(.*\) = \d+)?$/s;

/** Whether a clause of a table's TTL, without what stands in quotes, is of `ttlOf`. */
export function isOurs(clause: string): boolean {
  return OURS.test(clause);
}

/** The clauses of the TTL that removes what a policy does not keep; none where it keeps everything. */
export function ttlOf({ rules }: RetentionPolicy): string[] {
  const byDefault = rules.find(({ conditions }) => conditions.length === 0)?.days ?? 0;
  const named = rules
    .filter(({ conditions }) => conditions.length > 0)
    .toSorted((one, other) => Number(one.days > 0) - Number(other.days > 0));
  const choices = named.map(({ conditions, days }) => `${conditions.map(sqlOf).join(' AND ')}, ${days}`);
  const days = `multiIf(${[...choices, byDefault].join(', ')})`;
  const all = [byDefault, ...named.map((rule) => rule.days)];
  const times = [...new Set(all)].filter((time) => time > 0).toSorted((one, other) => one - other);
  return times.map((time) => {
    // parts whose rows have all expired are dropped, and not written again
    const isOfAll = time === times.at(-1) && !all.includes(0);
    return `${AGE}${time})${isOfAll ? '' : ` WHERE ${days} = ${time}`}`;
  });
}

/** The condition in ClickHouse's SQL. */
export function sqlOf({ column, value, isPrefix }: Condition): string {
  return isPrefix ? `startsWith(${column}, ${literal(value)})` : `(${column} = ${literal(value)})`;
}
