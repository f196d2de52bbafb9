import { buildPage } from '../../scripts/page.ts';

/** The console's page, where the console finds it that runs from the sources. */
export default async function setup(): Promise<void> {
  await buildPage();
}
