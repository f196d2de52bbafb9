import { OutboxError } from '../errors.ts';

/** OUTBOX_EMBEDDED_PLATFORM, naming the service and the platform. */
export function unsupported(service: string, why: string, cause?: unknown): OutboxError {
  const detail = `There is no embedded ${service} for ${process.platform}-${process.arch}: ${why}.`;
  return new OutboxError('OUTBOX_EMBEDDED_PLATFORM', { detail, cause });
}

function isMusl(): boolean {
  // without this, a report looks up the host name of every open connection
  const before: unknown = Reflect.get(process.report, 'excludeNetwork');
  Reflect.set(process.report, 'excludeNetwork', true);
  const report: unknown = process.report.getReport();
  Reflect.set(process.report, 'excludeNetwork', before);
  if (typeof report !== 'object' || report === null || !('header' in report)) return false;
  const { header } = report;
  return typeof header === 'object' && header !== null && !('glibcVersionRuntime' in header);
}

/**
 * Refuses platforms without signals and pipes as they are used here (Windows), and Linux without glibc, for which the
 * binaries are not built: the kernel would only say "no such file" of a program that is there.
 */
export function requirePlatform(service: string): void {
  if (process.platform === 'win32') throw unsupported(service, 'Windows is not supported');
  if (process.platform === 'linux' && isMusl()) throw unsupported(service, 'the binaries need glibc, this is musl');
}
