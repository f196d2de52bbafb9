import { readdirSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { dirname, join, relative } from 'node:path';
import { Deployment } from 'kubernetes-models/apps/v1';
import { Job } from 'kubernetes-models/batch/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigMap, Secret, Service } from 'kubernetes-models/v1';
import type { PodSpec } from 'kubernetes-models/v1/PodSpec';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { readConfig, readConsoleConfig, type Config } from './streamer/config.ts';
import { SETTINGS } from './streamer/settings.ts';
import { serveHealth } from './streamer/telemetry/health.ts';
import { Readiness } from './streamer/observe/readiness.ts';

const ROOT = join(import.meta.dirname, '../deploy/kubernetes');
const MODELS = { ConfigMap, Deployment, Job, NetworkPolicy, PodDisruptionBudget, Secret, Service } as const;
/** src/app/settings.ts: the largest event by default. */
const LARGEST_EVENT_MIB = 16;

type Json = Record<string, unknown>;
interface Manifest extends Json {
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

/** Every document below deploy/kubernetes, by the path of its file. */
const documents = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.yaml'))
  .flatMap((path) =>
    parseAllDocuments(readFileSync(join(ROOT, path), 'utf8')).map((document) => {
      if (document.errors.length > 0) throw new Error(`${path}: ${document.errors.join()}`);
      return { path, manifest: document.toJS() as Manifest };
    }),
  );
const kustomizations = documents.filter(({ manifest }) => manifest.kind === 'Kustomization');
const patches = documents.filter(({ path }) => path.endsWith('.patch.yaml'));
/** Of kinds that are not Kubernetes' own. */
const foreign = documents.filter(({ manifest }) => manifest.kind === 'PodMonitor');
const manifests = documents.filter((document) => ![...kustomizations, ...patches, ...foreign].includes(document));

/** Merges as kustomize does, for patches that add no item to a list. */
function merged(base: Json, patch: Json): Json {
  const entries = Object.entries(patch).map(([key, value]) => {
    const there = base[key];
    const isDeep = isObject(value) && isObject(there) && !Array.isArray(value);
    return [key, isDeep ? merged(there, value) : value];
  });
  return { ...base, ...Object.fromEntries(entries) };
}

function find(kind: keyof typeof MODELS, name: string): Manifest {
  return manifests.find(({ manifest }) => manifest.kind === kind && manifest.metadata.name === name)!.manifest;
}

const deployment = find('Deployment', 'outbox-streamer');
const job = find('Job', 'outbox-migrate');
const standby = merged(deployment, patches[0]!.manifest) as Manifest;
const pods = [deployment, standby, job, find('Deployment', 'outbox-console')].map(
  (manifest) => (manifest['spec'] as { template: { spec: PodSpec } }).template.spec,
);

/**
 * What is wrong with a manifest by Kubernetes' own schema. The generated validators ignore fields that they do not know, and so
 * never read them; kubectl refuses them.
 */
function faults(manifest: Manifest): string[] {
  const read = new Map<object, Set<PropertyKey>>();
  const watched = (value: unknown): unknown => {
    if (!isObject(value)) return value;
    const keys = read.get(value) ?? new Set();
    read.set(value, keys);
    return new Proxy(value, {
      get: (target, key) => {
        keys.add(key);
        return key === 'validate' ? Reflect.get(target, key) : watched(Reflect.get(target, key));
      },
    });
  };
  const model = new MODELS[manifest.kind as keyof typeof MODELS](structuredClone(manifest) as never);
  try {
    (watched(model) as typeof model).validate();
  } catch (error) {
    return [(error as Error).message];
  }
  const unread = (value: unknown, path: string): string[] =>
    isObject(value)
      ? Object.entries(value).flatMap(([key, inner]) =>
          read.get(value)?.has(key) === true ? unread(inner, `${path}.${key}`) : [`${path}.${key} is unknown`],
        )
      : [];
  return unread(model, manifest.kind);
}

function configOf({ containers }: PodSpec): Config {
  const [{ env = [], envFrom = [], volumeMounts = [] }] = containers as [PodSpec['containers'][number]];
  const given = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  const data = envFrom.map(({ configMapRef }) => find('ConfigMap', configMapRef!.name!)['data'] as Json);
  const secret = pods.flatMap(({ volumes = [] }) => volumes).find(({ name }) => name === volumeMounts[0]!.name)?.secret;
  const texts = find('Secret', secret!.secretName!)['stringData'] as Record<string, string>;
  // readConfig throws on an unknown name and on a wrong value, and the lookup on a file that the secret does not hold
  return readConfig(Object.assign({}, ...data, given) as Record<string, string>, (path) => {
    expect(dirname(path)).toBe(volumeMounts[0]!.mountPath);
    return texts[relative(dirname(path), path)]!;
  });
}

const mebibytes = (quantity: unknown): number => Number(/^(\d+)Mi$/.exec(String(quantity))![1]);

describe('Kubernetes’ schema', () => {
  test.each(manifests.map(({ path, manifest }) => [`${path}: ${manifest.kind} ${manifest.metadata.name}`, manifest]))(
    'accepts %s',
    (_, manifest) => expect(faults(manifest)).toEqual([]),
  );

  test('accepts the Deployment with the standby’s patch', () => {
    expect(faults(standby)).toEqual([]);
    expect(standby['spec']).toMatchObject({ replicas: 2, strategy: { type: 'RollingUpdate' } });
  });

  test('rejects unknown fields at any depth, and wrong values', () => {
    const broken = (patch: Json): string[] => faults(merged(deployment, patch) as Manifest);
    expect(broken({ replicas: 1 })).toEqual(['Deployment.replicas is unknown']);
    expect(broken({ metadata: { label: {} } })).toEqual(['Deployment.metadata.label is unknown']);
    expect(broken({ spec: { template: { spec: { securityContext: { runAsNonroot: true } } } } })).toEqual([
      'Deployment.spec.template.spec.securityContext.runAsNonroot is unknown',
    ]);
    expect(broken({ spec: { template: { spec: { containers: [{ name: 'c', probe: {} }] } } } })).toEqual([
      'Deployment.spec.template.spec.containers.0.probe is unknown',
    ]);
    expect(broken({ spec: { replicas: 'two' } })).toEqual([expect.stringContaining('replicas must be integer')]);
    expect(broken({ spec: { selector: null } })).not.toEqual([]);
  });
});

test('the kustomizations name every manifest and patch in their folders exactly once', () => {
  const named = kustomizations.flatMap(({ path, manifest }) => {
    const { resources, patches: changes = [] } = manifest as unknown as { resources: string[]; patches?: Json[] };
    return [...resources, ...changes.map((change) => String(change['path']))].map((name) => join(dirname(path), name));
  });
  const others = documents.filter(({ path }) => dirname(path) !== '.' && !path.endsWith('kustomization.yaml'));
  expect(named.toSorted()).toEqual(['base', ...others.map(({ path }) => path)].toSorted());
});

test('readConfig accepts the environment of every pod, and readConsoleConfig that of the console', () => {
  for (const pod of pods) expect(configOf(pod)).toMatchObject({ slot: 'outbox', clickhouseTable: 'events' });
  const { env = [] } = pods.at(-1)!.containers[0]!;
  const { token } = find('Secret', 'outbox-console')['stringData'] as { token: string };
  const given = Object.fromEntries(env.map(({ name, value }) => [name, value ?? '']));
  expect(readConsoleConfig(given, () => token)).toMatchObject({
    consoleHost: '*',
    consolePort: 8090,
    consoleToken: token,
  });
});

test('the streamer’s pods have the memory that docs/operations.md asks for, and enough time to stop', () => {
  for (const pod of [deployment, standby].map((_, i) => pods[i]!)) {
    const { batchMaxBytes, shutdownTimeoutMs } = configOf(pod);
    const needed = 120 + 2 * (batchMaxBytes / 2 ** 20) + 3 * LARGEST_EVENT_MIB + 25;
    const { requests, limits } = pod.containers[0]!.resources!;
    expect(mebibytes(limits!['memory'])).toBeGreaterThan(needed);
    expect(requests!['memory']).toBe(limits!['memory']);
    expect(pod.terminationGracePeriodSeconds! * 1000).toBeGreaterThan(shutdownTimeoutMs);
  }
});

test('serveHealth answers every probe at its port: 200 for startup and liveness, 503 for readiness before streaming', async () => {
  const config = { ...configOf(pods[0]!), healthPort: 0 };
  const { port, stop } = await serveHealth(config, new Readiness(), async () => '');
  const answer = async (path: string): Promise<number> => {
    const [response] = (await once(get({ port, path }), 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode!;
  };
  for (const pod of pods.slice(0, 2)) {
    const [{ ports, startupProbe, livenessProbe, readinessProbe }] = pod.containers as [PodSpec['containers'][number]];
    expect(ports).toEqual([{ name: 'health', containerPort: configOf(pod).healthPort }]);
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) expect(probe!.httpGet!.port).toBe('health');
    // a streamer that does not stream yet is alive, but not ready
    expect(await answer(startupProbe!.httpGet!.path!)).toBe(200);
    expect(await answer(livenessProbe!.httpGet!.path!)).toBe(200);
    expect(await answer(readinessProbe!.httpGet!.path!)).toBe(503);
  }
  stop();
});

test('the Service and the PodMonitor select the streamer’s pods, and name their port', () => {
  const labels = { 'app.kubernetes.io/name': 'outbox-streamer' };
  expect((deployment['spec'] as { template: Json }).template).toMatchObject({ metadata: { labels } });
  expect(pods[0]!.containers[0]!.ports![0]!.name).toBe('health');
  expect(find('Service', 'outbox-streamer')['spec']).toMatchObject({
    selector: labels,
    ports: [{ targetPort: 'health' }],
  });
  expect(foreign.map(({ manifest }) => manifest['spec'])).toMatchObject([
    { selector: { matchLabels: labels }, podMetricsEndpoints: [{ port: 'health', path: '/metrics' }] },
  ]);
});

test('the unit of systemd runs the streamer’s program, and stops it later than it stops by itself', () => {
  const unit = readFileSync(join(ROOT, '../systemd/pg-outbox-clickhouse.service'), 'utf8');
  const { bin } = JSON.parse(readFileSync(join(ROOT, '../../packages/streamer/package.json'), 'utf8')) as {
    bin: Record<string, string>;
  };
  expect(unit).toContain(`/pg-outbox-clickhouse-streamer/${bin['pg-outbox-clickhouse']} run\n`);
  const { default: timeoutMs } = SETTINGS.OUTBOX_SHUTDOWN_TIMEOUT_MS;
  expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)![1]) * 1000).toBeGreaterThan(timeoutMs);
});

test('every pod runs as an ordinary user, without privileges and with a read-only root file system', () => {
  for (const { containers, ...pod } of pods) {
    expect(pod).toMatchObject({
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    });
    expect(pod.securityContext?.runAsUser).toBeGreaterThan(0);
    expect(containers).toHaveLength(1);
    expect(containers[0]).toMatchObject({
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      },
      volumeMounts: [{ readOnly: true }],
    });
    expect(containers[0]!.securityContext).not.toHaveProperty('privileged');
  }
});

test('every pod runs the image of the version in package.json', () => {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string;
  };
  for (const { containers } of pods)
    expect(containers[0]!.image).toMatch(new RegExp(`/pg-outbox-clickhouse:${version}$`));
});
