import { expect, test } from 'vitest';
import { readClickHouseUrl, urlsOf, withHostsOf } from './hosts.ts';

test.each([
  ['http://u:p@h:8123/db', ['http://u:p@h:8123/db']],
  [
    'http://u:p@a:8123,b:8124,[::1]:8125/db',
    ['http://u:p@a:8123/db', 'http://u:p@b:8124/db', 'http://u:p@[::1]:8125/db'],
  ],
  ['https://u:a%2Cb@a,b/db', ['https://u:a%2Cb@a/db', 'https://u:a%2Cb@b/db']],
])('urlsOf reads of %s the URLs %s', (text, urls) => {
  expect(urlsOf(text).map(({ href }) => href)).toEqual(urls);
});

test.each(['', 'a:8123,b:8123', 'http://a,/db', 'http://a:x,b/db'])('readClickHouseUrl takes %s for no URL', (text) => {
  expect(readClickHouseUrl(text)).toBeUndefined();
});

test('withHostsOf puts the hosts of one URL into another', () => {
  const text = 'http://h:1,h:2';
  const [url] = urlsOf(text);
  Object.assign(url, { username: 'default', pathname: '/default' });
  expect(withHostsOf(text, url)).toBe('http://default@h:1,h:2/default');
  expect(withHostsOf('http://h:1', url)).toBe('http://default@h:1/default');
});
