import { expect, test } from 'vitest';
import { mayIdle, type Idling } from './idling.ts';

test.for<readonly [url: string, idling: Idling['clickhouseIdling'], may: boolean]>([
  ['https://u:p@abc.eu-west-1.aws.clickhouse.cloud:8443/db', 'auto', true],
  ['https://u:p@abc.vpce.aws.clickhouse.cloud:8443/db', 'auto', true],
  ['https://u:p@abc.eu-west-1.aws.clickhouse.cloud:8443/db', 'off', false],
  ['http://u:p@localhost:8123/db', 'auto', false],
  ['http://u:p@localhost:8123/db', 'on', true],
  ['https://u:p@clickhouse.cloud.example.com/db', 'auto', false],
])('%s with OUTBOX_CLICKHOUSE_IDLING=%s may idle: %s', ([clickhouseUrl, clickhouseIdling, may]) => {
  expect(mayIdle({ clickhouseUrl, clickhouseIdling })).toBe(may);
});
