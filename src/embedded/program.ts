#!/usr/bin/env node
/*
 * `pg-outbox-clickhouse`, as the library brings it: `dev` is here, every other command is the streamer's, whose program has the
 * same name. Where both packages are installed, either may be the one that npm links.
 */
import { pathToFileURL } from 'node:url';
import { OutboxError } from '../errors.ts';
import { dev } from './dev.ts';
import { findStreamer } from './streamer.ts';

const [command = '', ...args] = process.argv.slice(2);
try {
  if (command === 'dev') process.exitCode = await dev(args, process.env);
  else await import(pathToFileURL(streamerFor(command)).href);
} catch (error) {
  if (!(error instanceof OutboxError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n\nNext: ${error.next}\n`);
  process.exitCode = 1;
}

function streamerFor(name: string): string {
  try {
    return findStreamer();
  } catch (cause) {
    const detail = `${name === '' ? 'Its commands are' : `\`${name}\` is`} in the package pg-outbox-clickhouse-streamer, which is not installed here.`;
    throw new OutboxError('OUTBOX_PROGRAM_INCOMPLETE', { detail, cause });
  }
}
