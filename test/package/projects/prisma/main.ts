import { PrismaPg } from '@prisma/adapter-pg';
import { emitEvent } from 'pg-outbox-clickhouse';
import { PrismaClient } from './generated/client.ts';

async function main(): Promise<void> {
  const prisma = new PrismaClient({ adapter: new PrismaPg(process.env['DATABASE_URL']!) });
  const id = await prisma.$transaction((tx) => emitEvent(tx, { type: 'project.ran', context: { client: 'prisma' } }));
  await prisma.$disconnect();
  console.log(id);
}

void main();
