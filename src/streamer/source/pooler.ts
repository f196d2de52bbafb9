import type { Host } from './hosts.ts';

/** Names and ports under which services offer their poolers, and where the server itself is. */
const POOLERS: readonly { readonly name: RegExp; readonly port?: string; readonly is: string }[] = [
  { name: /-pooler\.[^/]*\.neon\.(tech|build)$/, is: 'Neon’s pooler: take “-pooler” out of the host’s name' },
  {
    name: /\.pooler\.supabase\.com$/,
    is: 'Supabase’s pooler: the server itself is db.<project>.supabase.co, port 5432',
  },
  { name: /\.supabase\.co$/, port: '6543', is: 'Supabase’s pooler: the server itself has the port 5432' },
  {
    name: /\.proxy-[^.]+\..*\.rds\.amazonaws\.com(\.cn)?$/,
    is: 'RDS Proxy: take the endpoint of the instance or cluster',
  },
  {
    name: /\.postgres\.database\.azure\.com$/,
    port: '6432',
    is: 'Azure’s PgBouncer: the server itself has the port 5432',
  },
];

/** Which pooler a host is by its name and port, and where its server is; undefined for any other. */
export function poolerOf(host: Host): string | undefined {
  return POOLERS.find(({ name, port = host.port }) => name.test(host.name) && host.port === port)?.is;
}
