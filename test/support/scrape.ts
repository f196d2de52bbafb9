import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

/** One answer of /metrics. */
export class Scrape {
  readonly text: string;
  readonly type: string | undefined;

  private constructor(body: string, type: string | undefined) {
    this.text = body;
    this.type = type;
  }

  static async of(port: number): Promise<Scrape> {
    const request = get({ host: '127.0.0.1', port, path: '/metrics' });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return new Scrape(await text(response), response.headers['content-type']);
  }

  /** The value of the one series of a metric with these labels, whatever others it has; undefined when there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    const lines = this.text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) && wanted.every((label) => line.includes(label)));
    if (lines.length > 1) throw new Error(`${name} has ${lines.length} such series`);
    return lines[0] === undefined ? undefined : Number(lines[0].slice(lines[0].lastIndexOf(' ') + 1));
  }
}
