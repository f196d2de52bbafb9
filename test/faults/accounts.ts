import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';

export const DATABASE = 'outbox';

/** What the streamer's account can become. This engine changes no account while it runs, so there is one of each kind. */
export type Account = keyof typeof ACCOUNTS;

/** A profile whose values all differ from those that the streamer needs, and with which no insert is refused. */
const CONTRARY = {
  async_insert: 1,
  insert_deduplicate: 0,
  deduplicate_insert: 'disable',
  deduplicate_blocks_in_dependent_materialized_views: 0,
  materialized_views_ignore_errors: 1,
  max_insert_block_size: 10,
  min_insert_block_size_rows: 1,
  limit: 1,
  offset: 1,
  max_result_rows: 1,
  result_overflow_mode: 'break',
  read_overflow_mode: 'break',
  additional_result_filter: '0',
  output_format_json_array_of_rows: 1,
  data_type_default_nullable: 1,
};

const ACCOUNTS = {
  'rows are hidden': {
    profile: '',
    policy: `<databases><${DATABASE}><events><filter>event_type = 'nobody'</filter></events></${DATABASE}></databases>`,
  },
  'read-only': { profile: '<readonly>1</readonly>', policy: '' },
  constrained: { profile: '<constraints><async_insert><const/></async_insert></constraints>', policy: '' },
  contrary: {
    profile: Object.entries(CONTRARY)
      .map(([name, value]) => `<${name}>${value}</${name}>`)
      .join(''),
    policy: '',
  },
};

const nameOf = (account: string): string => account.replaceAll(/\W/g, '_');

/** Restarts the server with them. */
export async function addAccounts(clickhouse: EmbeddedClickHouse): Promise<void> {
  const file = join(clickhouse.directory, 'users.xml');
  const all = Object.entries(ACCOUNTS);
  const profiles = all.map(([account, { profile }]) => `<${nameOf(account)}>${profile}</${nameOf(account)}>`).join('');
  const users = all
    .map(([account, { policy }]) => {
      const name = nameOf(account);
      return `<${name}><password></password><networks><ip>127.0.0.1</ip></networks><profile>${name}</profile><quota>default</quota>${policy}</${name}>`;
    })
    .join('');
  const known = await readFile(file, 'utf8');
  await writeFile(file, known.replace('</profiles>', `${profiles}</profiles>`).replace('</users>', `${users}</users>`));
  await clickhouse.stop();
  await clickhouse.start();
}

/** HTTP's header by which a request is the account's. */
export function authorizationOf(account: Account): string {
  return `Basic ${Buffer.from(`${nameOf(account)}:`).toString('base64')}`;
}
