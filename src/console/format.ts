/** Figures as `status` prints them, so that both say the same. */

export function count(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}

/** Short, for a narrow place: 1.4 k, 12 M. */
export function short(n: number): string {
  if (n < 10 && !Number.isInteger(n)) return n.toFixed(1);
  if (n < 10_000) return count(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e5 ? 1 : 0)} k`;
  return n < 1e9 ? `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} M` : `${(n / 1e9).toFixed(1)} G`;
}

export function bytes(n: number): string {
  if (n < 1000) return `${Math.round(n)} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} kB`;
  return n < 1e9 ? `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)} MB` : `${(n / 1e9).toFixed(1)} GB`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${count(seconds / 86_400)} d`;
}

export function ago(iso: string, nowMs: number): string {
  return `${duration(Math.max(0, (nowMs - Date.parse(iso)) / 1000))} ago`;
}

/** `2026-11-30 18:34:45.792` of an ISO time, in UTC as it came. */
export function time(iso: string): string {
  return iso
    .replace('T', ' ')
    .replace(/(\.\d{3})\d*/, '$1')
    .replace(/Z$/, '');
}

export function plural(n: number, what: string): string {
  return `${count(n)} ${what}${n === 1 ? '' : 's'}`;
}
