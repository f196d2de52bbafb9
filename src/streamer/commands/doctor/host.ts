import { connect } from 'node:net';
import { once } from 'node:events';
import { bad, ok, shell, type Finding } from './finding.ts';

const MAX_SKEW_MS = 5000;
const DIAL_TIMEOUT_MS = 2000;

/** What a server's clock says, against this host's before and after it was asked. ms since 1970. */
export function clockFinding(
  id: string,
  server: string,
  { began, ended, theirs }: { began: number; ended: number; theirs: number },
): Finding {
  const ahead = theirs > ended ? theirs - ended : theirs < began ? theirs - began : 0;
  const found = `${server} is ${Math.abs(ahead / 1000).toFixed(1)} s ${ahead < 0 ? 'behind' : 'ahead of'} this host`;
  if (Math.abs(ahead) < MAX_SKEW_MS) return ok(id, found);
  const why = 'Times in the table and delays that are computed from them are wrong by as much.';
  return bad('warning', id, found, why, shell('timedatectl set-ntp true'));
}

/** Whether the collector of traces can be reached, where one is named. */
export async function examineCollector(env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const id = 'otel.endpoint';
  const name = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'].find((wanted) => env[wanted]);
  if (name === undefined || env['OTEL_SDK_DISABLED'] === 'true') return [ok(id, 'no traces are sent')];
  const url = URL.parse(env[name] ?? '');
  const fault = url === null ? 'it is not a URL' : await dial(url);
  if (fault === undefined) return [ok(id, `${name} can be reached`)];
  const why = 'Traces are lost; events are not.';
  return [bad('warning', id, `${name}: ${fault}`, why, shell(`curl --silent --show-error "$${name}"`))];
}

async function dial(url: URL): Promise<string | undefined> {
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  const socket = connect(port, url.hostname.replaceAll(/[[\]]/g, ''));
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) });
    return undefined;
  } catch (error) {
    const { code } = error as { code?: string };
    return `no connection: ${code === undefined || code === 'ABORT_ERR' ? 'timed out' : code}`;
  } finally {
    socket.destroy();
  }
}
