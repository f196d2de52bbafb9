import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { Pool } from 'pg';
import { actors, inTransaction, transfer, type Transfer } from './transfer.ts';

const { DATABASE_URL, PORT = '3000' } = process.env;
const pool = new Pool({ connectionString: DATABASE_URL });

const server = createServer((request, response) => {
  void actors.run(String(request.headers['x-user'] ?? 'nobody'), async () => {
    try {
      const wanted = (await json(request)) as Transfer;
      await inTransaction(pool, (client) => transfer(client, wanted));
      response.writeHead(204).end();
    } catch (error) {
      response.writeHead(409).end(error instanceof Error ? error.message : undefined);
    }
  });
});
server.listen(Number(PORT), () => console.log(`http://localhost:${(server.address() as AddressInfo).port}`));
process.once('SIGTERM', () => server.close(() => void pool.end()));
