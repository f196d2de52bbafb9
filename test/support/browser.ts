import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium as playwright, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { TOKEN, type ConsoleProcess } from './console.ts';

const DEBIAN = '/usr/bin/chromium';
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Chromium: Debian's where it is installed, else the one that npm brings. */
export async function launchBrowser(): Promise<Browser> {
  const executablePath = existsSync(DEBIAN) ? DEBIAN : await inflated();
  // not the arguments that the package proposes: they switch off what keeps sites apart
  return playwright.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'], headless: true });
}

/** The path of the one out of npm. Where a function of AWS runs, it brings libraries that a host without a desktop may lack, too. */
async function inflated(): Promise<string> {
  const { stdout } = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  if (!stdout?.includes('libnss3.so')) process.env['AWS_EXECUTION_ENV'] = 'AWS_Lambda_nodejs24.x';
  const { default: chromium } = await import('@sparticuz/chromium');
  return chromium.executablePath();
}

/** A tab on the console, and what went wrong in it. */
export interface Tab extends AsyncDisposable {
  readonly page: Page;
  /** Errors of scripts, of the Content-Security-Policy and of requests; dialogs; requests to other hosts. */
  readonly complaints: readonly string[];
  /** Goes to `#/…`. */
  readonly go: (place: string) => Promise<void>;
}

/** Opens the console in a tab of its own, logged in unless `token` is another. */
export async function openTab(
  browser: Browser,
  console: ConsoleProcess,
  { token = TOKEN, ...options }: BrowserContextOptions & { token?: string } = {},
): Promise<Tab> {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (said) => {
    if (said.type() === 'error' && !said.text().includes('Failed to load resource')) complaints.push(said.text());
  });
  page.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(console.url)) complaints.push(`a request to ${request.url()}`);
  });
  await page.goto(token === '' ? console.url : `${console.url}#token=${encodeURIComponent(token)}`);
  return {
    page,
    complaints,
    go: async (place) => void (await page.evaluate(`location.hash = ${JSON.stringify(`#/${place}`)}`)),
    [Symbol.asyncDispose]: async () => context.close(),
  };
}

/** What axe finds on the page as it is: rule, impact and where. */
export async function axe(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(
    `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
       violations.map(({ id, impact, nodes }) => id + ' (' + impact + '): ' + nodes.map(({ target }) => target.join(' ')).join(', ')))`,
  );
}
