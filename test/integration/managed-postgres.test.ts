import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPostgres, type EmbeddedPostgres } from '../../src/embedded/postgres.ts';
import { examinePostgres } from '../../src/streamer/commands/doctor/postgres.ts';
import { migrateClickHouse } from '../../src/streamer/commands/migrate-clickhouse.ts';
import { migratePostgres } from '../../src/streamer/commands/migrate-postgres.ts';
import { readConfig } from '../../src/streamer/config.ts';
import { findingOf } from '../support/doctor.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';

const read = async (path: string): Promise<string> => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
const ROLES = await read('migrations/postgres/roles.sql');
const PAGE = await read('docs/managed-postgres.md');
const PASSWORD = 'a-long-random-one';
const ADMIN = 'outbox_admin';

interface Imitation {
  readonly heading: string;
  /** As `doctor` names it. */
  readonly service: string;
  /** What the service has made, by a superuser. */
  readonly roles: readonly string[];
  /** Attributes of its administrator. */
  readonly attributes: string;
  /** Settings that only the service has, of one database here. */
  readonly settings: Readonly<Record<string, string>>;
  readonly inDatabase?: string;
  /** What the service lets its administrator do, and an ordinary Postgres does not. */
  readonly allows?: RegExp;
  /** What being granted a role means there. */
  readonly means?: string;
  readonly fix: { readonly in: string; readonly run: RegExp };
  /** Whether a streamer delivers there, too: what is imitated is the same as elsewhere. */
  readonly streams?: boolean;
}

const AMAZON = {
  roles: [
    'CREATE ROLE rds_replication',
    'CREATE ROLE rds_iam',
    'CREATE ROLE rds_superuser',
    'GRANT rds_replication, rds_iam, pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION',
    `GRANT rds_superuser TO ${ADMIN}`,
    // what membership in rds_replication means there
    `ALTER ROLE ${ADMIN} REPLICATION`,
  ],
  attributes: 'CREATEROLE CREATEDB',
  settings: { 'rds.logical_replication': 'on' },
  means: 'ALTER ROLE outbox_streamer REPLICATION',
};

const IMITATIONS: readonly Imitation[] = [
  {
    ...AMAZON,
    heading: 'Amazon RDS',
    service: 'Amazon RDS',
    fix: { in: 'shell', run: /modify-db-parameter-group .*max_slot_wal_keep_size,ParameterValue=10240,/ },
    streams: true,
  },
  {
    ...AMAZON,
    heading: 'Amazon Aurora',
    service: 'Amazon Aurora',
    inDatabase: 'CREATE FUNCTION aurora_version() RETURNS text RETURN NULL',
    fix: { in: 'shell', run: /modify-db-cluster-parameter-group .*max_slot_wal_keep_size,ParameterValue=10240,/ },
  },
  {
    heading: 'Google Cloud SQL',
    service: 'Google Cloud SQL',
    roles: ['CREATE ROLE cloudsqlsuperuser', `GRANT cloudsqlsuperuser TO ${ADMIN}`],
    attributes: 'CREATEROLE CREATEDB REPLICATION',
    settings: { 'cloudsql.logical_decoding': 'on' },
    allows: /^ALTER ROLE postgres REPLICATION$/,
    fix: { in: 'console', run: /Flags: max_slot_wal_keep_size = 10240/ },
  },
  {
    heading: 'Azure Database for PostgreSQL',
    service: 'Azure Database',
    roles: ['CREATE ROLE azure_pg_admin', `GRANT azure_pg_admin TO ${ADMIN}`],
    attributes: 'CREATEROLE CREATEDB REPLICATION',
    settings: { 'azure.extensions': 'pgcrypto' },
    allows: /^ALTER ROLE outbox_admin REPLICATION$/,
    fix: { in: 'shell', run: /^az postgres .* --name max_slot_wal_keep_size --value '10240'$/ },
    streams: true,
  },
  {
    heading: 'Supabase',
    service: 'Supabase',
    roles: ['CREATE ROLE supabase_admin SUPERUSER'],
    attributes: 'CREATEROLE CREATEDB REPLICATION BYPASSRLS',
    settings: {},
    fix: { in: 'shell', run: /^supabase .* max_slot_wal_keep_size='10GB'$/ },
  },
  {
    heading: 'Neon',
    service: 'Neon',
    roles: [
      'CREATE ROLE neon_superuser CREATEDB CREATEROLE REPLICATION',
      `GRANT neon_superuser TO ${ADMIN}`,
      'CREATE ROLE neon_made_role',
    ],
    attributes: 'CREATEROLE CREATEDB REPLICATION BYPASSRLS',
    settings: { 'neon.timeline_id': 'de200bd42b49cc1814412c7e592dd6e9' },
    fix: { in: 'console', run: /Neon’s support .*max_slot_wal_keep_size = 10GB/ },
    streams: true,
  },
];

const DROP_ROLES = `DO $$ DECLARE role name; BEGIN
  FOR role IN SELECT rolname FROM pg_roles WHERE oid >= 16384 ORDER BY oid DESC LOOP EXECUTE format('DROP ROLE %I', role); END LOOP; END $$`;

let postgres: EmbeddedPostgres;

beforeAll(async () => {
  // Neon has it so; on the others it is a fault
  postgres = await startPostgres({ settings: { fsync: 'off' } });
});

afterAll(async () => {
  await postgres?.dispose();
});

function loginTo(url: string, username: string): string {
  return Object.assign(new URL(url), { username, password: PASSWORD }).href;
}

async function run(url: string, ...statements: string[]): Promise<string[]> {
  const client = new Client(url);
  const warnings: string[] = [];
  client.on('notice', ({ severity, message = '' }) => void (severity === 'WARNING' && warnings.push(message)));
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
  return warnings;
}

/** The statements of a section of the page. */
function statementsOf(heading: string): string[] {
  const section = PAGE.split(/^## /m).find((one) => one.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(/```sql\n([^`]*)```/g)].flatMap(([, block = '']) =>
    block.split(';').flatMap((statement) => statement.trim() || []),
  );
}

/** A database as the service has it, with an outbox that its administrator made. All roles end with it. */
async function withOutbox(
  { roles, attributes, settings, inDatabase = '' }: Pick<Imitation, 'roles' | 'attributes' | 'settings' | 'inDatabase'>,
  work: (outbox: Outbox, admin: string) => Promise<void>,
): Promise<void> {
  await run(
    postgres.url,
    `CREATE ROLE ${ADMIN} LOGIN ${attributes} PASSWORD '${PASSWORD}'`,
    'CREATE ROLE my_app',
    ...roles,
  );
  const outbox = await Outbox.create({ postgresUrl: postgres.url, migrated: false, createOptions: `OWNER ${ADMIN}` });
  try {
    for (const [name, value] of Object.entries(settings))
      await run(postgres.url, `ALTER DATABASE "${outbox.slot}" SET ${name} = '${value}'`);
    await run(outbox.databaseUrl, inDatabase);
    const admin = loginTo(outbox.databaseUrl, ADMIN);
    await migratePostgres(admin, outbox.slot, () => undefined);
    await migrateClickHouse(outbox.clickhouseUrl, { table: 'events', cluster: '' }, () => undefined);
    await work(outbox, admin);
  } finally {
    await outbox[Symbol.asyncDispose]();
    const drop = `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`;
    await eventually('the slot is free', async () =>
      run(postgres.url, drop).then(
        () => true,
        () => false,
      ),
    );
    await run(postgres.url, `DROP DATABASE "${outbox.slot}" WITH (FORCE)`, DROP_ROLES);
  }
}

test.for(IMITATIONS)(
  'with an administrator as $service has one, `migrate`, roles.sql and the statements of docs/managed-postgres.md make a sound outbox',
  async ({ heading, service, allows, means, fix, streams = false, ...imitation }) => {
    await withOutbox(imitation, async (outbox, admin) => {
      expect(await run(admin, ROLES)).toEqual([]);
      for (const statement of [...statementsOf('On every service'), ...statementsOf(heading)])
        await run(allows?.test(statement) ? postgres.url : admin, statement);
      if (means !== undefined) await run(postgres.url, means);
      const environment = {
        DATABASE_URL: loginTo(outbox.databaseUrl, 'outbox_streamer'),
        CLICKHOUSE_URL: outbox.clickhouseUrl,
        OUTBOX_SLOT: outbox.slot,
      };
      const streamer = streams ? outbox.stream(environment) : undefined;
      await run(admin, "SELECT outbox.emit('test.managed', '{}')");
      if (streams) await outbox.untilDelivered(1);
      const findings = await examinePostgres(readConfig(environment));
      expect(findingOf(findings, 'postgres.service')).toMatchObject({ found: service });
      const unsafe = service === 'Neon' ? [] : ['postgres.durability'];
      expect(findings.filter(({ level }) => level === 'error').map(({ id }) => id)).toEqual(unsafe);
      const limit = findingOf(findings, 'postgres.slot_wal_limit');
      expect(limit?.fix).toEqual([{ in: fix.in, run: expect.stringMatching(fix.run) }]);
      if (streamer === undefined) return;
      expect(await streamer.stop()).toBe(0);
      expect(streamer.logs.some(({ err }) => err?.code === 'OUTBOX_PG_UNSAFE')).toBe(service !== 'Neon');
    });
  },
);

test('roles.sql run by an administrator without REPLICATION warns, and does the rest', async () => {
  await withOutbox(
    { roles: [`ALTER ROLE ${ADMIN} REPLICATION`], attributes: 'CREATEROLE', settings: {} },
    async (_, admin) => {
      await run(postgres.url, `ALTER ROLE ${ADMIN} NOREPLICATION`);
      expect(await run(admin, ROLES)).toEqual([expect.stringContaining('outbox_streamer may not replicate yet')]);
      await run(postgres.url, `ALTER ROLE ${ADMIN} REPLICATION`);
      expect(await run(admin, ROLES)).toEqual([]);
    },
  );
});

/** A pooler that, as some do, ignores what it does not know of a startup: replication, and the settings of the session. */
async function startPooler(): Promise<{ port: number } & AsyncDisposable> {
  const target = new URL(postgres.url);
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    client.once('data', (startup: Buffer) => {
      const words = startup.subarray(8).toString('latin1').split('\0');
      const kept = words.flatMap((name, at) =>
        at % 2 === 0 && ['user', 'database'].includes(name) ? [name, words[at + 1]] : [],
      );
      const body = Buffer.from(`${kept.join('\0')}\0\0`, 'latin1');
      const head = Buffer.from(startup.subarray(0, 8));
      head.writeInt32BE(body.length + 8);
      upstream.write(Buffer.concat([head, body]));
      client.pipe(upstream).pipe(client);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: async () => void server.close() };
}

test('the streamer and `doctor` recognise a pooler that drops what it does not know', async () => {
  await using pooler = await startPooler();
  await using outbox = await Outbox.create({ postgresUrl: postgres.url });
  const DATABASE_URL = Object.assign(new URL(outbox.databaseUrl), { port: String(pooler.port) }).href;
  const findings = await examinePostgres(
    readConfig({ DATABASE_URL, CLICKHOUSE_URL: outbox.clickhouseUrl, OUTBOX_SLOT: outbox.slot }),
  );
  expect(findingOf(findings, 'postgres.pooler')).toMatchObject({
    level: 'error',
    found: 'OUTBOX_PG_POOLER: the settings of a session do not reach the server',
  });
  await outbox.stream({ DATABASE_URL }).failure('OUTBOX_PG_POOLER');
});
