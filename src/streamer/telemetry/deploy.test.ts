/** deploy/ asks Prometheus only for series that the streamer has, and every alert has its runbook. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { METRICS } from './metrics-table.ts';
import { prometheusLabel, prometheusName, SLOT_ATTRIBUTE } from './metrics.ts';
import { readQuery, type Matcher } from './promql.fixture.ts';

const ROOT = join(import.meta.dirname, '../../..');
/** Every series has these labels: the slot, and what Prometheus adds when it scrapes. */
const COMMON_LABELS = [prometheusLabel(SLOT_ATTRIBUTE), 'instance', 'job'];

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url: string };
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

function text(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The labels of each series with their values. The bound of a bucket has none here: it is a number. */
const SERIES: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>> = new Map(
  METRICS.flatMap((metric) => {
    const name = prometheusName(metric);
    const labels = Object.entries(metric.attributes ?? {}).map(
      ([attribute, values]) => [prometheusLabel(attribute), values] as const,
    );
    if (metric.kind !== 'histogram') return [[name, new Map(labels)] as const];
    return [
      [`${name}_bucket`, new Map<string, readonly string[]>([...labels, ['le', []]])] as const,
      [`${name}_sum`, new Map(labels)] as const,
      [`${name}_count`, new Map(labels)] as const,
    ];
  }),
);

/** What a query asks for that does not exist. */
function unknownIn(query: string): string[] {
  const { selectors, labels } = readQuery(query.replaceAll(/\$__\w+/g, '5m'));
  const known = new Set(COMMON_LABELS);
  const problems: string[] = [];
  for (const { metric, matchers } of selectors) {
    const own = SERIES.get(metric);
    if (own === undefined) problems.push(metric);
    for (const label of own?.keys() ?? []) known.add(label);
    for (const matcher of matchers) problems.push(...unmatched(matcher, own).map((value) => `${metric}{${value}}`));
  }
  return [...problems, ...labels.filter((label) => !known.has(label))];
}

function unmatched(
  { label, operator, value }: Matcher,
  own: ReadonlyMap<string, readonly string[]> | undefined,
): string[] {
  if (COMMON_LABELS.includes(label)) return [];
  const values = own?.get(label);
  if (values === undefined) return [label];
  const wanted = operator.endsWith('~') ? value.split('|') : [value];
  return wanted.filter((each) => !values.includes(each)).map((each) => `${label}="${each}"`);
}

test('unknownIn finds metrics, labels and values in a query that the streamer does not have', () => {
  expect(unknownIn('sum by (outcome) (rate(outbox_events_total{outcome=~"delivered|quarantined"}[5m]))')).toEqual([]);
  expect(unknownIn('outbox_event_total')).toEqual(['outbox_event_total']);
  expect(unknownIn('outbox_freshness_seconds')).toEqual(['outbox_freshness_seconds']);
  expect(unknownIn('outbox_events_total{outcome=~"delivered|lost"}')).toEqual(['outbox_events_total{outcome="lost"}']);
  expect(unknownIn('outbox_events_total{state="x"}')).toEqual(['outbox_events_total{state}']);
  expect(unknownIn('sum by (outcome) (outbox_batches_total)')).toEqual(['outcome']);
});

describe('deploy/prometheus/alerts.yml', () => {
  const { groups } = parse(text('deploy/prometheus/alerts.yml')) as { groups: { name: string; rules: Rule[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  const runbooks = text('docs/runbooks.md');
  const anchors = new Set([...runbooks.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!.toLowerCase()));

  test('gives each alert a name of its own and a runbook, and each runbook has its alert', () => {
    const names = rules.map(({ alert }) => alert);
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(names.map((name) => name.toLowerCase()))).toEqual(anchors);
  });

  test.each(rules.map((rule) => [rule.alert, rule] as const))('defines %s completely', (name, rule) => {
    const { expr, labels, annotations } = rule;
    expect(unknownIn(expr)).toEqual([]);
    expect(rule.for).toMatch(/^\d+[smh]$/);
    expect(['critical', 'warning', 'info']).toContain(labels.severity);
    expect(annotations.description).toContain('$value');
    expect(annotations.runbook_url).toBe(`docs/runbooks.md#${name.toLowerCase()}`);
    const used = [...`${annotations.summary}${annotations.description}`.matchAll(/\$labels\.(\w+)/g)].map(([, l]) => l);
    // an aggregation keeps these labels and no other
    const { labels: kept } = readQuery(expr);
    for (const label of used) expect(kept).toContain(label);
  });
});

describe('deploy/grafana/dashboard.json', () => {
  const dashboard = JSON.parse(text('deploy/grafana/dashboard.json')) as {
    panels: Panel[];
    templating: { list: { name: string; query: string | { query: string } }[] };
  };
  const { panels, templating } = dashboard;

  test.each(panels.filter(({ targets }) => targets !== undefined).map((panel) => [panel.title, panel] as const))(
    'queries only series that exist in the panel "%s"',
    (_, { targets }) => {
      expect(targets!.length).toBeGreaterThan(0);
      for (const { expr } of targets!) expect(unknownIn(expr)).toEqual([]);
    },
  );

  test('gives each panel an id of its own, and no two panels overlap', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: h * w }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos: { w, x } }) => w + x))).toBeLessThanOrEqual(24);
  });

  test('uses exactly the variables that it defines, and reads the slots from a series that exists', () => {
    const names = templating.list.map(({ name }) => name);
    const used = JSON.stringify(panels).matchAll(/\$\{?([a-z]\w*)/g);
    expect(new Set([...used].map(([, name]) => name))).toEqual(new Set(names));
    const slots = templating.list.find(({ name }) => name === 'slot')!.query as { query: string };
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(slots.query)!;
    expect(SERIES.has(metric!)).toBe(true);
    expect(COMMON_LABELS).toContain(label);
  });
});

test('docker-compose.yml mounts files that exist, among them the alert rules, and Prometheus scrapes a service', () => {
  const { services } = parse(text('docker-compose.yml')) as {
    services: Record<string, { profiles?: string[]; volumes?: string[] }>;
  };
  const mounts = ['prometheus', 'grafana'].flatMap((name) => {
    expect(services[name]!.profiles).toEqual(['observability']);
    return services[name]!.volumes!;
  });
  expect(mounts.filter((mount) => !existsSync(join(ROOT, mount.split(':')[0]!)))).toEqual([]);
  const { rule_files: rules, scrape_configs: scrapes } = parse(text('deploy/prometheus/prometheus.yml')) as {
    rule_files: string[];
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  };
  for (const path of rules) expect(mounts.some((mount) => mount.split(':')[1] === path)).toBe(true);
  const [host] = scrapes[0]!.static_configs[0]!.targets[0]!.split(':');
  expect(Object.keys(services)).toContain(host);
});
