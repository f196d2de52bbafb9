import type { ServiceName } from '../../source/service.ts';
import { webConsole, shell, sql, type Fix } from './finding.ts';
import type { PostgresSubject } from './subjects.ts';

/** How a service lets a setting of its server be changed, which SQL cannot do there. docs/managed-postgres.md has the same. */
type Change = (name: string, value: string, when: 'at once' | 'at start') => readonly Fix[];

/** A flag or parameter of the service that makes `wal_level` logical. */
const LOGICAL: Readonly<Partial<Record<ServiceName, readonly [name: string, value: string]>>> = {
  'Amazon RDS': ['rds.logical_replication', '1'],
  'Amazon Aurora': ['rds.logical_replication', '1'],
  'Google Cloud SQL': ['cloudsql.logical_decoding', 'on'],
};

const CHANGES: Readonly<Record<ServiceName, Change>> = {
  'Amazon RDS': inGroup('modify-db-parameter-group --db-parameter-group-name'),
  'Amazon Aurora': inGroup('modify-db-cluster-parameter-group --db-cluster-parameter-group-name'),
  // its command removes all flags that it is not given
  'Google Cloud SQL': (name, value) => [webConsole(`Edit the instance, Flags: ${name} = ${inMegabytes(value)}; Save`)],
  'Azure Database': (name, value, when) => {
    const set = `az postgres flexible-server parameter set --resource-group "$RESOURCE_GROUP" --server-name "$SERVER" --name ${name} --value '${inMegabytes(value)}'`;
    const restart = 'az postgres flexible-server restart --resource-group "$RESOURCE_GROUP" --name "$SERVER"';
    return [shell(set), ...(when === 'at start' ? [shell(restart)] : [])];
  },
  Neon: (name, value) => [
    webConsole(
      name === 'wal_level'
        ? 'Settings of the project, Logical Replication: Enable'
        : `only Neon’s support can change it: ask for ${name} = ${value}`,
    ),
  ],
  Supabase: (name, value) => [
    shell(`supabase --experimental --project-ref "$PROJECT" postgres-config update --config ${name}='${value}'`),
  ],
};

/** Changes a setting of the server, by SQL or in the way of its service. */
export function setting(postgres: Pick<PostgresSubject, 'service'>, name: string, value: string): readonly Fix[] {
  if (postgres.service !== undefined) return CHANGES[postgres.service](name, value, 'at once');
  return [sql(`ALTER SYSTEM SET ${name} = '${value}'`), sql('SELECT pg_reload_conf()')];
}

/** The same of a setting that is read when the server starts. */
export function startSetting(
  { service }: Pick<PostgresSubject, 'service'>,
  name: string,
  value: string,
): readonly Fix[] {
  if (service === undefined)
    return [sql(`ALTER SYSTEM SET ${name} = '${value}'`), shell('systemctl restart postgresql')];
  const [itsName, itsValue] = (name === 'wal_level' && LOGICAL[service]) || [name, value];
  return CHANGES[service](itsName, itsValue, 'at start');
}

/** @param command of the CLI of AWS, which is followed by the group's name */
function inGroup(command: string): Change {
  return (name, value, when) => {
    const method = when === 'at start' ? 'pending-reboot' : 'immediate';
    const parameter = `ParameterName=${name},ParameterValue=${inMegabytes(value)},ApplyMethod=${method}`;
    const set = shell(`aws rds ${command} "$PARAMETER_GROUP" --parameters '${parameter}'`);
    const reboot = shell('aws rds reboot-db-instance --db-instance-identifier "$INSTANCE"');
    return when === 'at start' ? [set, reboot] : [set];
  };
}

/** Parameters of a service take numbers alone. */
function inMegabytes(value: string): string {
  const [, number, unit] = /^(\d+)([MG])B$/.exec(value) ?? [];
  return number === undefined ? value : String(Number(number) * (unit === 'G' ? 1024 : 1));
}
