/** Builds the console's page: into build/console, where the sources look for it, or into the streamer's package. */
import { join } from 'node:path';
import { build } from 'vite';

const ROOT = join(import.meta.dirname, '..');

/** @param directory is emptied first */
export async function buildPage(directory = join(ROOT, 'build/console')): Promise<void> {
  await build({
    root: join(ROOT, 'src/console'),
    configFile: false,
    logLevel: 'warn',
    // one that this host has set for itself
    mode: 'production',
    base: './',
    build: {
      outDir: directory,
      emptyOutDir: true,
      target: 'es2022',
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
  });
}

if (import.meta.main) await buildPage();
