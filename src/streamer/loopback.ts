import { isIPv4 } from 'node:net';

/** A name or an address of this host itself, as a URL has it or without its brackets. Whoever else answers to a name is not asked. */
export function isLoopback(host: string): boolean {
  const name = host.replaceAll(/[[\]]/g, '');
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}
