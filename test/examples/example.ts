import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { pack, Project, readManifest, ROOT, type Outcome, type Packed } from '../package/packages.ts';
import { Outbox } from '../support/outbox.ts';

export const EXAMPLES = join(ROOT, 'examples');

/** The library as it would be published; built apart from dist/, which other tests build at the same time. */
export class Library implements AsyncDisposable {
  readonly packed: Packed;
  readonly #directory: string;

  private constructor(packed: Packed, directory: string) {
    this.packed = packed;
    this.#directory = directory;
  }

  static async create(): Promise<Library> {
    const directory = await mkdtemp(join(tmpdir(), 'outbox-library-'));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const args = [tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(directory, 'dist')];
    await promisify(execFile)(process.execPath, args);
    await cp(join(ROOT, 'package.json'), join(directory, 'package.json'));
    return new Library(await pack(directory, directory), directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true });
  }
}

/**
 * An example as its user has it: outside the repository, with what its package.json declares and nothing else. Its tables
 * are made after the outbox's, and a streamer is running.
 */
export class Example implements AsyncDisposable {
  readonly outbox: Outbox;
  readonly #project: Project;
  readonly #processes: ChildProcess[] = [];

  private constructor(outbox: Outbox, project: Project) {
    this.outbox = outbox;
    this.#project = project;
  }

  static async create({ packed }: Library, name: string): Promise<Example> {
    const directory = join(EXAMPLES, name);
    const { dependencies = {}, devDependencies = {} } = await readManifest(directory);
    const declared = Object.keys({ ...dependencies, ...devDependencies }).filter(
      (dependency) => !dependency.startsWith(packed.manifest.name),
    );
    const [outbox, project] = await Promise.all([Outbox.create(), Project.create([packed], declared)]);
    await cp(directory, project.directory, { recursive: true });
    const example = new Example(outbox, project);
    outbox.stream();
    await outbox.postgres.query(await example.text('schema.sql'));
    return example;
  }

  async text(file: string): Promise<string> {
    return readFile(this.#project.path(file), 'utf8');
  }

  /** Runs Node to its end. */
  async run(...args: string[]): Promise<Outcome> {
    return this.#project.run(process.execPath, args, { DATABASE_URL: this.outbox.databaseUrl });
  }

  /** Starts main.ts, which serves, and returns the URL that it prints. */
  async serve(): Promise<string> {
    const child = spawn(process.execPath, ['main.ts'], {
      cwd: this.#project.directory,
      env: { PATH: process.env['PATH'] ?? '', DATABASE_URL: this.outbox.databaseUrl, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#processes.push(child);
    for await (const line of createInterface(child.stdout)) return line;
    throw new Error('it ended without a URL');
  }

  /** What ClickHouse has, in the order of commits, once that many events are there. */
  async events(count: number): Promise<{ type: string; context: Record<string, unknown> }[]> {
    await this.outbox.untilDelivered(count);
    return this.outbox.select('SELECT event_type AS type, event_context AS context FROM events ORDER BY lsn, seq');
  }

  /** Asks the servers to stop: each ends by itself, and gives its connections back. */
  async stop(): Promise<(number | null)[]> {
    return Promise.all(
      this.#processes.splice(0).map(async (child) => {
        child.kill('SIGTERM');
        const [code] = await once(child, 'exit');
        return code as number | null;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) child.kill('SIGKILL');
    await this.outbox[Symbol.asyncDispose]();
    await this.#project[Symbol.asyncDispose]();
  }
}
