import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';

const ROOT = join(import.meta.dirname, '..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Their hashes are not known yet: docs/releasing.md. Development and `./embedded` use them, on other platforms. */
const WITHOUT_HASH = ['darwin-arm64', 'darwin-x64', 'linux-arm64-gnu'].map((platform) => `@chdb/lib-${platform}`);

interface Service {
  readonly build?: unknown;
  readonly image?: string;
  readonly ports?: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
}

test('package-lock.json holds the hash of every package, so that `npm ci` installs no other', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { integrity?: string; link?: boolean; dev?: boolean; optional?: boolean }>;
  };
  const installed = Object.entries(packages).filter(([path, { link }]) => path.includes('node_modules/') && !link);
  expect(installed.length).toBeGreaterThan(100);
  const without = installed.filter(([, { integrity = '' }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity));
  expect(without.map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length))).toEqual(
    WITHOUT_HASH,
  );
  for (const [, entry] of without) expect(entry).toMatchObject({ dev: true, optional: true });
});

test('both packages and the image name one repository', () => {
  const [library, streamer] = ['package.json', 'packages/streamer/package.json'].map(
    (path) =>
      JSON.parse(read(path)) as Record<'homepage' | 'bugs' | 'author' | 'version', string> & {
        repository: { url: string };
      },
  );
  for (const field of ['homepage', 'bugs', 'author', 'version'] as const)
    expect(streamer![field]).toBe(library![field]);
  expect(streamer!.repository).toEqual({ ...library!.repository, directory: 'packages/streamer' });
  const home = library!.repository.url.replace(/^git\+(.*)\.git$/, '$1');
  expect(library).toMatchObject({ homepage: `${home}#readme`, bugs: `${home}/issues` });
  expect(read('Dockerfile')).toContain(`org.opencontainers.image.source="${home}"`);
});

test('the Dockerfile builds every stage from one image, which a release gives by its digest', () => {
  const dockerfile = read('Dockerfile');
  expect(dockerfile).toMatch(/^ARG NODE_IMAGE=node:\d+-\w+-slim$/m);
  const stages = [...dockerfile.matchAll(/^FROM (\S+)(?: AS (\w+))?$/gm)];
  expect(stages).toHaveLength([...dockerfile.matchAll(/^FROM /gm)].length);
  const names = stages.map(([, , name]) => name);
  for (const [, image] of stages) expect(['${NODE_IMAGE}', ...names]).toContain(image);
  for (const [, from] of dockerfile.matchAll(/--from=(\S+)/g)) expect(names).toContain(from);
});

test('no service of docker-compose.yml gains privileges or is open to other hosts, and ours write no file', () => {
  const { services } = parse(read('docker-compose.yml'), { merge: true }) as { services: Record<string, Service> };
  for (const [name, service] of Object.entries(services)) {
    expect([name, service]).toEqual([
      name,
      expect.objectContaining({ security_opt: expect.arrayContaining(['no-new-privileges:true']) }),
    ]);
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  }
  const isOurs = ({ image = '' }: Service): boolean => image.startsWith('pg-outbox-clickhouse');
  const ours = Object.values(services).filter(isOurs);
  expect(ours.length).toBeGreaterThan(2);
  for (const service of ours) expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'] });
  for (const { image } of Object.values(services).filter((service) => !isOurs(service)))
    expect(image).toMatch(/:v?\d+(\.\d+)*$/);
});

test('the NetworkPolicy selects the pods of the streamer and of the migration', () => {
  const labelsOf = (path: string): unknown =>
    parseAllDocuments(read(`deploy/kubernetes/${path}`))[0]?.getIn(['spec', 'template', 'metadata', 'labels'], true);
  const policy = parse(read('deploy/kubernetes/base/networkpolicy.yaml')) as {
    spec: { podSelector: { matchExpressions: { key: string; operator: string; values: string[] }[] } };
  };
  const [selector, ...others] = policy.spec.podSelector.matchExpressions;
  expect(others).toEqual([]);
  expect(selector).toMatchObject({ key: 'app.kubernetes.io/name', operator: 'In' });
  for (const path of ['base/deployment.yaml', 'migrate.yaml']) {
    const labels = JSON.parse(JSON.stringify(labelsOf(path))) as Record<string, string>;
    expect(selector?.values).toContain(labels['app.kubernetes.io/name']);
  }
});
