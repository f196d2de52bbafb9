import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launchBrowser, openTab } from '../support/browser.ts';
import { ConsoleProcess, TOKEN } from '../support/console.ts';
import { Outbox } from '../support/outbox.ts';
import { Proxy } from '../support/proxy.ts';
import { eventually } from '../support/wait.ts';

const SETTINGS = { OUTBOX_CONSOLE_TOKEN: TOKEN, OUTBOX_CONSOLE_PAYLOADS: 'on' };
/** The page asks every 5 s, and a database that hangs is given 3 s. */
const PATIENCE = { timeout: 45_000 };

let browser: Browser;

beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser?.close());

async function emit(outbox: Outbox, type: string, subject: string, context: string): Promise<void> {
  await outbox.postgres.query('SELECT outbox.emit($1, $2::json, subject => $3)', [type, context, subject]);
}

test.concurrent('the flow is told in a word while events flow, while ClickHouse is away, when the slot is lost, and when the console is gone', async () => {
  await using outbox = await Outbox.create();
  const { proxy, url } = await Proxy.to(new URL(outbox.clickhouseUrl));
  const streamer = outbox.stream();
  await using console = await ConsoleProcess.start(
    { databaseUrl: outbox.databaseUrl, clickhouseUrl: url, slot: outbox.slot },
    SETTINGS,
  );
  await outbox.fill(5);
  await outbox.untilDelivered(5);
  await using tab = await openTab(browser, console);
  const { page } = tab;
  const verdict = page.locator('.verdict [role=status]');
  const clickhouse = page.locator('.box', { hasText: 'ClickHouse' });
  await page.locator('.verdict.ok').waitFor(PATIENCE);
  expect(await verdict.textContent()).toBe('Flowing');
  await page.getByText('test.filled').waitFor(PATIENCE);
  expect(await page.locator('canvas').count()).toBe(5);
  expect(await axe(page)).toEqual([]);
  expect(await page.evaluate('location.href')).toBe(`${console.url}#/flow`);

  await proxy.close();
  await page.locator('.verdict.bad').waitFor(PATIENCE);
  expect(await verdict.textContent()).toBe('Not flowing');
  await page.getByText('OUTBOX_CH_UNREACHABLE').first().waitFor(PATIENCE);
  // not the last good value
  expect(await clickhouse.locator('.number').textContent()).toBe('–');
  await proxy.listen();
  await page.locator('.verdict.ok').waitFor(PATIENCE);

  await streamer.kill();
  await eventually('the slot is lost', async () => {
    const drop = 'SELECT pg_drop_replication_slot($1)';
    return outbox.postgres.query(drop, [outbox.slot]).then(
      () => true,
      () => false,
    );
  });
  await page.getByText('OUTBOX_SLOT_MISSING').waitFor(PATIENCE);
  expect(await page.locator('.box', { hasText: 'Postgres' }).locator('.state').textContent()).toContain(
    'no usable slot',
  );

  expect(tab.complaints).toEqual([]);
  await console.kill();
  await page.locator('.verdict.unknown').waitFor(PATIENCE);
  expect(new Set(await page.locator('.box .number').allTextContents())).toEqual(new Set(['–']));
  await proxy.close();
}, 150_000);

test.concurrent('what events contain is shown as text, whatever it is', async () => {
  await using outbox = await Outbox.create();
  const streamer = outbox.stream();
  await using console = await ConsoleProcess.start(outbox, {
    ...SETTINGS,
    OUTBOX_CONSOLE_TRACE_URL: 'http://localhost:16686/trace/{trace_id}',
  });
  const type = '<img src=x onerror=alert(1)>';
  const subject = '"><svg/onload=alert(2)>\u202Egpj.exe';
  const deep = `${'{"d":'.repeat(400)}1${'}'.repeat(400)}`;
  await emit(
    outbox,
    type,
    subject,
    JSON.stringify({ '<b>key</b>': '</pre><script>alert(3)</script>', rtl: 'a\u202Eb' }),
  );
  await emit(outbox, 'large', subject, JSON.stringify({ large: 'x'.repeat(1_000_000) }));
  await emit(outbox, 'deep', subject, deep);
  await outbox.untilDelivered(3);
  await using tab = await openTab(browser, console, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
  const { page, go } = tab;
  await page.locator('nav').first().waitFor();

  await go('events');
  await page.getByLabel('Subject').fill(subject);
  await page.getByLabel('Subject').press('Enter');
  await page.getByText('3 events').waitFor(PATIENCE);
  expect(await page.locator('tbody').textContent()).toContain(type);
  expect(await axe(page)).toEqual([]);
  await page.getByRole('link', { name: 'Timeline' }).click();
  await page.locator('.timeline li').nth(2).waitFor(PATIENCE);
  expect(await page.locator('.timeline strong').allTextContents()).toEqual([type, 'large', 'deep']);
  expect(await axe(page)).toEqual([]);

  const open = async (index: number): Promise<void> => {
    await page.locator('.timeline a').nth(index).click();
    await page.getByText('Its place').waitFor(PATIENCE);
  };
  await open(0);
  expect(await page.locator('h1').textContent()).toBe(type);
  const texts = page.locator('.shown pre');
  expect(await texts.first().textContent()).toBe('{"<b>key</b>":"</pre><script>alert(3)</script>","rtl":"aU+202Eb"}');
  expect(await page.locator('main img, main svg, main script').count()).toBe(0);
  expect(await axe(page)).toEqual([]);
  await page.goBack();
  await open(1);
  expect((await texts.first().textContent())!.length).toBe(200_000);
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  await page.goBack();
  await open(2);
  expect(await texts.first().textContent()).toBe(deep);
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  expect(tab.complaints).toEqual([]);
  await streamer.stop();
}, 150_000);

test.concurrent('events are retried and discarded from the page, after it has asked, and the log says from where', async () => {
  await using outbox = await Outbox.create();
  await outbox.addView();
  await outbox.clickhouse.command({ query: "ALTER TABLE events ADD CONSTRAINT sound CHECK event_type != 'poison'" });
  const streamer = outbox.stream();
  await using console = await ConsoleProcess.start(outbox, SETTINGS);
  await outbox.fill(3, 'poison');
  await outbox.fill(1);
  await streamer.failure('OUTBOX_QUARANTINED');
  await outbox.untilDelivered(1);
  await using tab = await openTab(browser, console);
  const { page, go } = tab;
  await page.locator('nav').first().waitFor();
  await go('quarantine');
  const ask = async (button: string, answer: string): Promise<void> => {
    await page.getByRole('button', { name: button, exact: true }).first().click();
    await page.locator('dialog').getByRole('button', { name: answer, exact: true }).click();
  };
  await page.getByRole('heading', { name: '3 × poison' }).waitFor(PATIENCE);
  expect(await axe(page)).toEqual([]);
  await ask('Discard all', 'Cancel');
  await ask('Retry all', 'Retry');
  await page.getByText('3 rejected again', { exact: true }).waitFor(PATIENCE);

  await outbox.clickhouse.command({ query: 'ALTER TABLE events DROP CONSTRAINT sound' });
  await page.getByRole('checkbox').first().check();
  await ask('Discard 1', 'Discard');
  await page.getByText('1 discarded').waitFor(PATIENCE);
  await ask('Retry all', 'Retry');
  await page.getByText('2 delivered').waitFor(PATIENCE);
  await page.getByText('The quarantine is empty.').waitFor(PATIENCE);
  expect(await outbox.delivered()).toEqual({ rows: 3, events: 3 });
  expect(await outbox.viewed()).toBe(3);
  const changes = console.logs.filter(({ msg }) => msg === 'a reader of the console changed the quarantine');
  expect(changes.map(({ address, action, events }) => [address, action, events])).toEqual([
    ['127.0.0.1', 'retry', 3],
    ['127.0.0.1', 'discard', 1],
    ['127.0.0.1', 'retry', 2],
  ]);

  await go('health');
  await page.getByText(/\d+ errors?, \d+ warnings?, \d+ in order/).waitFor(PATIENCE);
  await page.getByRole('button', { name: 'Verify' }).click();
  // one of the events was given up
  await page.getByText('Identical').waitFor(PATIENCE);
  expect(await axe(page)).toEqual([]);
  expect(tab.complaints).toEqual([]);
  await streamer.stop();
}, 150_000);

test.concurrent('the page asks for the token, and keeps it in its tab', async () => {
  await using outbox = await Outbox.create();
  await using console = await ConsoleProcess.start(outbox, SETTINGS);
  await using tab = await openTab(browser, console, { token: 'a-wrong-token-of-the-tests' });
  const { page } = tab;
  const field = page.getByLabel('Token');
  await field.waitFor(PATIENCE);
  expect(await axe(page)).toEqual([]);
  await field.fill('another-wrong-token');
  await field.press('Enter');
  await page.getByText('the token is wrong').waitFor(PATIENCE);
  await field.fill(TOKEN);
  await field.press('Enter');
  await page.locator('.verdict').first().waitFor(PATIENCE);
  await page.reload();
  await page.locator('.verdict.bad').waitFor(PATIENCE);
  await page.getByText('OUTBOX_FLOW_NO_STREAMER').waitFor(PATIENCE);
  expect(await page.context().cookies()).toEqual([]);
  expect(tab.complaints).toEqual([]);
}, 150_000);
