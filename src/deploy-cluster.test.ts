/** deploy/cluster is one cluster: what its files say of hosts, shards and keepers agrees. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from './streamer/config.ts';
import { urlsOf } from './streamer/clickhouse/hosts.ts';

const ROOT = join(import.meta.dirname, '../deploy/cluster');
const text = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

interface Service {
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: readonly string[] | Readonly<Record<string, unknown>>;
  readonly volumes?: readonly string[];
  readonly hostname?: string;
}

const { services, volumes } = parse(text('docker-compose.yml'), { merge: true }) as {
  services: Readonly<Record<string, Service>>;
  volumes: Readonly<Record<string, null>>;
};
const named = (pattern: RegExp): [string, Service][] => Object.entries(services).filter(([name]) => pattern.test(name));
const environmentOf = ({ environment = {} }: Service): Readonly<Record<string, string>> => environment;
/** What stands in the elements of a name, in their order. */
const inXml = (xml: string, name: string): string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map(([, content]) => content!);

test('docker-compose.yml depends on services, and mounts files and volumes, that are there', () => {
  const needed = Object.values(services).flatMap(({ depends_on: names = [] }) =>
    Array.isArray(names) ? names : Object.keys(names),
  );
  expect(needed.filter((name) => !(name in services))).toEqual([]);
  const mounts = Object.values(services).flatMap(({ volumes: list = [] }) => list.map((mount) => mount.split(':')[0]!));
  const isThere = (from: string): boolean => (from.startsWith('.') ? existsSync(join(ROOT, from)) : from in volumes);
  expect(mounts.filter((from) => !isThere(from))).toEqual([]);
});

test('clickhouse.xml names the hosts of each shard, and their keepers', () => {
  const xml = text('clickhouse.xml');
  const shards = xml.split('<shard>').slice(1);
  const listed = shards.map((shard) => inXml(shard.split('</shard>')[0]!, 'host'));
  const hosts = named(/^clickhouse-/).map(([name, service]) => {
    const { SHARD: shard, REPLICA: replica } = environmentOf(service);
    expect(name).toBe(`clickhouse-${shard}${replica}`);
    expect(service.hostname).toBe(name);
    return { name, shard: Number(shard) };
  });
  expect(listed).toEqual([1, 2].map((shard) => hosts.filter((host) => host.shard === shard).map(({ name }) => name)));
  const keepers = named(/^keeper-/).map(([name]) => name);
  expect(inXml(xml.slice(xml.indexOf('<zookeeper>')), 'host')).toEqual(keepers);
  const keeper = text('keeper.xml');
  expect(inXml(keeper, 'hostname')).toEqual(keepers);
  expect(inXml(keeper, 'id')).toEqual(named(/^keeper-/).map(([, service]) => environmentOf(service)['KEEPER_ID']));
});

test('each shard has a streamer with a share of its own, whose CLICKHOUSE_URL names the replicas of that shard', () => {
  const streamers = named(/^streamer-/);
  expect(streamers).toHaveLength(2);
  for (const [index, [, service]] of streamers.entries()) {
    const { OUTBOX_SHARD: share, ...others } = environmentOf(service);
    expect(share).toBe(`${index + 1}/${streamers.length}`);
    const { clickhouseUrl, clickhouseCluster } = readConfig(others);
    expect(text('clickhouse.xml')).toContain(`<${clickhouseCluster}>`);
    const hosts = urlsOf(clickhouseUrl).map(({ hostname }) => environmentOf(services[hostname]!)['SHARD']);
    expect(hosts).toEqual([String(index + 1), String(index + 1)]);
  }
  expect(environmentOf(services['migrate']!)).toEqual(environmentOf(services['streamer-1']!));
});
