import { expect, test } from 'vitest';
import { printQuarantine, type Listed } from './quarantine-list.ts';

test('printQuarantine shows a colour in a type or a reason as the escape that it is', () => {
  const row: Listed = {
    id: '1',
    lsn: '0/1',
    seq: '0',
    event_id: '7d444840-9dc0-11d1-b245-5ffdce74fad2',
    event_type: 'a\u001b[30mb',
    reason: 'ClickHouse answered 469 \u001b[30mc\u00ad',
    quarantined_at: new Date(0),
    discarded_at: null,
  };
  expect(printQuarantine([row])).toContain('1 × "a\\u001b[30mb", 469 \\u001b[30mc\\u00ad\n');
});
