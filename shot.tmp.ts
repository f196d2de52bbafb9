import { launchBrowser } from './test/support/browser.ts';
const base = 'http://127.0.0.1:28090/';
const browser = await launchBrowser();
const pages = process.argv[2]!.split(',');
const modes = (process.argv[3] ?? 'light,dark,narrow').split(',');
for (const mode of modes) {
  const context = await browser.newContext({ locale: 'en-US', colorScheme: mode === 'dark' ? 'dark' : 'light', viewport: mode === 'narrow' ? { width: 360, height: 800 } : { width: 1200, height: 860 } });
  for (const p of pages) {
    const page = await context.newPage();
    page.on('console', (m) => console.log(mode, p, m.type(), m.text()));
    page.on('pageerror', (e) => console.log(mode, p, 'ERROR', e.message));
    await page.goto(base + '#token=demo-demo-demo-demo');
    await page.waitForSelector('nav');
    await page.evaluate((h) => { location.hash = h; }, p.startsWith('#') ? p : '#/' + p);
    await page.waitForTimeout(p.includes('health') ? 9000 : 7000);
    const w = await page.evaluate(() => document.documentElement.scrollWidth);
    console.log(mode, p, 'scrollWidth', w);
    await page.screenshot({ path: `/tmp/h19play/shots/${p.replace(/\W+/g, '_').slice(0,40)}-${mode}.png`, fullPage: true });
    await page.close();
  }
  await context.close();
}
await browser.close();
