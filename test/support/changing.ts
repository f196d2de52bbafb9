import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Passes HTTP requests on with other parameters of their URLs, or to the port that `change` returns. */
export async function changing(
  target: URL,
  change: (parameters: URLSearchParams) => Promise<number | void> | number | void,
): Promise<{ server: Server; url: string }> {
  const server = createServer((incoming, answer) => {
    const pass = async (): Promise<void> => {
      const url = new URL(incoming.url!, target);
      url.port = String((await change(url.searchParams)) ?? target.port);
      const { method, headers } = incoming;
      const outgoing = request(url, { method, headers, auth: `${target.username}:${target.password}` }, (response) => {
        answer.writeHead(response.statusCode!, response.headers);
        response.pipe(answer);
      });
      incoming.pipe(outgoing);
    };
    void pass();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = new URL(target);
  url.port = String((server.address() as AddressInfo).port);
  return { server, url: url.href };
}
