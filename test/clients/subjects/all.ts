import { drizzlePostgresJs } from './drizzle-postgres-js.ts';
import { drizzleNodePostgres } from './drizzle.ts';
import { knexPg } from './knex.ts';
import { kysely, kyselyControlled } from './kysely.ts';
import { mikroOrm } from './mikro-orm.ts';
import { pg } from './pg.ts';
import { postgresJs } from './postgres-js.ts';
import { prisma } from './prisma.ts';
import { contract } from './query.ts';
import type { Client } from './subject.ts';
import { typeorm, typeormRunner } from './typeorm.ts';

export const CLIENTS: readonly Client[] = [
  pg,
  drizzleNodePostgres,
  drizzlePostgresJs,
  postgresJs,
  kysely,
  kyselyControlled,
  prisma,
  knexPg,
  typeorm,
  typeormRunner,
  mikroOrm,
  contract,
];
