import { BlockList, isIP } from 'node:net';

/** It knows an IPv4 address by its spellings as IPv6, too. */
const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** A name or an address of this host itself, as a URL has it or without its brackets. Whoever else answers to a name is not asked. */
export function isLoopback(host: string): boolean {
  const name = host.replaceAll(/[[\]]/g, '');
  if (name === 'localhost') return true;
  const family = isIP(name);
  return family !== 0 && LOOPBACK.check(name, family === 6 ? 'ipv6' : 'ipv4');
}
