import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { failed } from './log.ts';

export interface ClickHouseUser {
  user: string;
  password: string;
  /** GRANT statements without the TO clause, such as `GRANT SELECT ON db.table`. Otherwise everything. */
  grants?: readonly string[];
}

function text(value: string | number): string {
  return String(value).replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function element(name: string, content: string, what: string): string {
  // in ClickHouse's configuration, names are those of XML elements: nothing can be escaped in them
  if (!/^[\p{L}_][\p{L}\p{N}_-]*$/u.test(name)) {
    throw failed(
      `${JSON.stringify(name)} cannot be ${what} of the embedded ClickHouse: letters, digits, _ and - only.`,
    );
  }
  return `<${name}>${content}</${name}>`;
}

function account({ user, password, grants }: ClickHouseUser): string {
  if (user === 'default')
    throw failed('The user `default` is the engine’s own and cannot have a password; use another.');
  const hash = createHash('sha256').update(password).digest('hex');
  const rights =
    grants === undefined
      ? '<access_management>1</access_management><named_collection_control>1</named_collection_control>'
      : `<grants>${grants.map((grant) => `<query>${text(grant)}</query>`).join('')}</grants>`;
  return element(user, `<password_sha256_hex>${hash}</password_sha256_hex>${COMMON}${rights}`, 'a user');
}

const COMMON = '<networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>default</profile><quota>default</quota>';

/**
 * Writes the configuration and returns its path. The engine runs its own session as `default` without a password, so
 * that account cannot be removed: like all others it is limited to this host, and the server listens on nothing else.
 */
export async function writeConfiguration(
  directory: string,
  users: readonly ClickHouseUser[],
  settings: Record<string, string | number>,
): Promise<string> {
  const profile = Object.entries(settings).map(([name, value]) => element(name, text(value), 'a setting'));
  const own = `<default><password></password>${COMMON}<access_management>1</access_management></default>`;
  const usersFile = join(directory, 'users.xml');
  const configFile = join(directory, 'config.xml');
  await mkdir(join(directory, 'data'), { recursive: true });
  await writeFile(
    usersFile,
    `<clickhouse><profiles><default>${profile.join('')}</default></profiles><users>${own}${users.map(account).join('')}</users>` +
      '<quotas><default/></quotas></clickhouse>\n',
    { mode: 0o600 },
  );
  await writeFile(
    configFile,
    `<clickhouse><users_config>${text(usersFile)}</users_config><default_profile>default</default_profile></clickhouse>\n`,
  );
  return configFile;
}
