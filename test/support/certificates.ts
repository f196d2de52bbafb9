import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { give, unprivilegedAccount } from '../../src/embedded/account.ts';

const run = promisify(execFile);
const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

export const hasOpenssl = await run('openssl', ['version']).then(
  () => true,
  () => false,
);

export interface Certificate {
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

/** Certificates made by openssl for one test, in a directory of their own that every account may read. */
export class Certificates implements AsyncDisposable {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async create(): Promise<Certificates> {
    const directory = await mkdtemp(join(tmpdir(), 'certificates-'));
    await chmod(directory, 0o755);
    return new Certificates(directory);
  }

  /** An authority; its `cert` is what clients are given to trust. */
  async authority(name: string): Promise<Certificate> {
    await this.#openssl(
      `req -x509 ${NEW_KEY} -days 2 -subj /CN=${name} -keyout ${name}.key -out ${name}.pem -addext keyUsage=critical,keyCertSign,cRLSign`,
    );
    return this.#paths(name);
  }

  /** Of a client that is known by its name. */
  async client(name: string, authority: Certificate): Promise<Certificate> {
    return this.server(name, authority, `DNS:${name}`, 1, 'clientAuth');
  }

  /** A server's certificate for `host`, such as `IP:127.0.0.1`; with negative days it has expired. */
  async server(name: string, authority: Certificate, host: string, days = 1, use = 'serverAuth'): Promise<Certificate> {
    await writeFile(join(this.#directory, `${name}.ext`), `subjectAltName=${host}\nextendedKeyUsage=${use}\n`);
    await this.#openssl(`req ${NEW_KEY} -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`);
    const [ca, caKey] = [basename(authority.cert), basename(authority.key)];
    await this.#openssl(
      `x509 -req -in ${name}.csr -CA ${ca} -CAkey ${caKey} -CAcreateserial -days ${days} -extfile ${name}.ext -out ${name}.pem`,
    );
    const paths = this.#paths(name);
    await give(paths.key, await unprivilegedAccount(''));
    return paths;
  }

  async #openssl(command: string): Promise<void> {
    await run('openssl', command.split(' '), { cwd: this.#directory });
  }

  #paths(name: string): Certificate {
    return { cert: join(this.#directory, `${name}.pem`), key: join(this.#directory, `${name}.key`) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true });
  }
}
