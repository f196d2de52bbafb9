import { existsSync } from 'node:fs';
import chromium from '@sparticuz/chromium';
import { chromium as playwright, type Browser } from 'playwright-core';

const DEBIAN = '/usr/bin/chromium';

/** Chromium: Debian's where it is installed, else the one that npm brings. */
export async function launchBrowser(): Promise<Browser> {
  const executablePath = existsSync(DEBIAN) ? DEBIAN : await chromium.executablePath();
  // not the arguments that the package proposes: they switch off what keeps sites apart
  return playwright.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'], headless: true });
}
