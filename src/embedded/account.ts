import { chown, readFile, stat } from 'node:fs/promises';
import { failed } from './log.ts';

export interface Account {
  uid: number;
  gid: number;
}

const NAMES = ['postgres', 'nobody'];

async function lookUp(): Promise<Account> {
  const accounts = new Map(
    (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => {
      const [name = '', , uid, gid] = line.split(':');
      // macOS writes nobody's ids as -2
      return [name, { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }];
    }),
  );
  const found = NAMES.map((name) => accounts.get(name)).find((account) => account !== undefined && account.uid !== 0);
  if (found === undefined)
    throw failed(`Postgres refuses to run as root, and there is no account ${NAMES.join(' or ')}.`);
  return found;
}

/**
 * The account that Postgres runs under, because it refuses to be root: the owner of the data where there is some already,
 * otherwise a system account without rights. Undefined when this process is not root, so nothing is to be changed.
 */
export async function unprivilegedAccount(data: string): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(data).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  return lookUp();
}

/** Hands a file or directory over to the account. */
export async function give(path: string, account: Account | undefined): Promise<void> {
  if (account !== undefined) await chown(path, account.uid, account.gid);
}
