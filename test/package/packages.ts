import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const ROOT = join(import.meta.dirname, '../..');
const GIVEN = (process.env['OUTBOX_TEST_NODES'] ?? '').split(delimiter).filter(Boolean);
const isCompiler = (file: string): boolean => basename(file) === 'tsc';
/** This Node, and whatever OUTBOX_TEST_NODES has (`npm run nodes`): other versions, and Bun and Deno. */
export const RUNTIMES = [process.execPath, ...GIVEN.filter((file) => !isCompiler(file))];
/** TypeScript's compiler, and other versions of it that OUTBOX_TEST_NODES has. */
export const COMPILERS = [join(ROOT, 'node_modules/typescript/bin/tsc'), ...GIVEN.filter(isCompiler)];
/** Those that embedded services and the streamer run on. */
export const NODES = RUNTIMES.filter((file) => !['bun', 'deno'].includes(basename(file)));

/** The arguments with which a runtime runs a script. */
export function scriptOf(runtime: string, script: string): string[] {
  return basename(runtime) === 'deno' ? ['run', '--allow-all', script] : [script];
}

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin?: Record<string, string>;
  readonly exports: Record<string, unknown>;
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
  readonly peerDependenciesMeta?: Record<string, { optional: boolean }>;
}

/** A package as it would be published. */
export interface Packed {
  readonly manifest: Manifest;
  readonly tarball: string;
  /** Paths within the package. */
  readonly files: string[];
}

/** Packs what is built. */
export async function pack(directory: string, destination: string): Promise<Packed> {
  const { stdout } = await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', destination], {
    cwd: directory,
  });
  const tarball = join(destination, stdout.trim());
  const listed = await run('tar', ['-tzf', tarball]);
  const files = listed.stdout.trim().split('\n');
  return {
    manifest: await readManifest(directory),
    tarball,
    files: files.map((file) => file.replace(/^package\//, '')),
  };
}

export async function readManifest(directory: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as Manifest;
}

/** What an installation brings along: not the optional peers. */
export function brought({ dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} }: Manifest): string[] {
  const required = Object.keys(peerDependencies).filter((name) => peerDependenciesMeta[name]?.optional !== true);
  return [...Object.keys(dependencies), ...required];
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A project outside the repository. Our packages are unpacked into it, so that Node looks for what they import in the
 * project alone, where there is what they declare and what the project asks for. Those are links into the repository.
 */
export class Project implements AsyncDisposable {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(packages: readonly Packed[], dependencies: readonly string[] = []): Promise<Project> {
    const project = new Project(await mkdtemp(join(tmpdir(), 'outbox-project-')));
    for (const { manifest, tarball } of packages) {
      const target = project.path('node_modules', manifest.name);
      await mkdir(target, { recursive: true });
      await run('tar', ['-xzf', tarball, '--strip-components=1', '-C', target]);
    }
    for (const name of new Set([...packages.flatMap(({ manifest }) => brought(manifest)), ...dependencies])) {
      const target = project.path('node_modules', name);
      await mkdir(dirname(target), { recursive: true });
      await symlink(join(ROOT, 'node_modules', name), target);
    }
    return project;
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Compiles a source against the packages' types, as an ES module and as CommonJS; returns what was complained of. */
  async compile(source: string, isSkippingLibraries = true, compiler = COMPILERS[0]!): Promise<string> {
    const options = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2022,esnext.disposable', '--strict'];
    options.push('--types', 'node', '--skipLibCheck', String(isSkippingLibraries), '--rewriteRelativeImportExtensions');
    await cp(source, this.path('main.mts'));
    await cp(source, this.path('main.cts'));
    const { stdout } = await this.run(process.execPath, [compiler, ...options, 'main.mts', 'main.cts']);
    return stdout;
  }

  async run(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
    const options = { cwd: this.directory, env: { PATH: process.env['PATH'] ?? '', ...env } };
    try {
      return { code: 0, ...(await run(file, args, options)) };
    } catch (error) {
      const { code, stdout, stderr } = error as Outcome;
      return { code, stdout, stderr };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
