import { expect, test } from 'vitest';
import { isOurs, readPolicy, ttlOf } from './retention-policy.ts';
import { ttlClauses, withoutTexts } from './ttl.ts';

const AGE = "toDateTime(committed_at, 'UTC') + toIntervalDay";
const ttl = (text: string): string[] => ttlOf(readPolicy(text, 8).policy);

test.for<readonly [text: string, clauses: readonly string[]]>([
  ['default:2y', [`${AGE}(730)`]],
  ['environment=staging:30d', [`${AGE}(30) WHERE multiIf((environment = 'staging'), 30, 0) = 30`]],
  [
    'environment=staging type=debug.*:8d, default:1y',
    [
      `${AGE}(8) WHERE multiIf((environment = 'staging') AND startsWith(event_type, 'debug.'), 8, 365) = 8`,
      `${AGE}(365)`,
    ],
  ],
  [
    ' type=a:10d , subject="o\'7, b" : forever, type=b:10d,default: 10d',
    [`${AGE}(10) WHERE multiIf((subject = 'o\\'7, b'), 0, (event_type = 'a'), 10, (event_type = 'b'), 10, 10) = 10`],
  ],
  [
    'subject=order:7:forever, environment=:9d',
    [`${AGE}(9) WHERE multiIf((subject = 'order:7'), 0, (environment = ''), 9, 0) = 9`],
  ],
  ['default:forever', []],
])(
  'ttlOf "%s" removes each event by the first rule that it fits, and none that a rule keeps forever',
  ([text, clauses]) => {
    expect(readPolicy(text, 8).problems).toEqual([]);
    expect(ttl(text)).toEqual(clauses);
    expect(clauses.every((clause) => isOurs(withoutTexts(clause)))).toBe(true);
    const full = `MergeTree ORDER BY a TTL ${clauses.join(', ')} SETTINGS index_granularity = 8192`;
    expect(ttlClauses(full).filter((clause) => clause !== '')).toEqual(clauses);
  },
);

test('readPolicy names every rule that is wrong, by its number, and quotes nothing', () => {
  const rules = [
    'type=a',
    '',
    'colour=red:30d',
    'type=a type=b:30d',
    'type=a*b:30d',
    'type=*:30d',
    'default:30d',
    'type=debug.*:0d',
    'type=debug.*:31y',
    'environment=x:3d',
    'type=shop.*:30d',
    'type=shop.paid environment=y:30d',
    'type=shop.*:forever',
    'type=shop.sold:forever',
    ':30d',
    'type="a b"c:30d',
  ];
  expect(readPolicy(rules.join(','), 8).problems).toEqual([
    'rule 1 must end in a colon and a time: 30d, 2y or forever',
    'rule 2 is empty',
    expect.stringMatching(/^rule 3 must be conditions such as/),
    'rule 4 has two conditions on type',
    'rule 5 has a * that is not the last character of a value',
    'rule 6 has a * without anything before it, which fits all: say default',
    'rule 7 is the default, which must be the last',
    expect.stringMatching(/^rule 8 must keep events for 1d to 30y/),
    expect.stringMatching(/^rule 9 must keep events for 1d to 30y/),
    expect.stringMatching(/^rule 10 must keep events for 8d at least/),
    'rule 12 never counts: rule 11 fits all of its events',
    'rule 14 never counts: rule 13 fits all of its events',
    'rule 15 has no condition: give one, or default',
    expect.stringMatching(/^rule 16 must be conditions such as/),
  ]);
});

test.for([
  'toDateTime(committed_at) + toIntervalDay(30)',
  "toDateTime(committed_at, 'UTC') + toIntervalDay(30) WHERE seq = 1",
])('isOurs tells the clause %s from those of a policy', (clause) => expect(isOurs(withoutTexts(clause))).toBe(false));
