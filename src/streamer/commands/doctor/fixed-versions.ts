/** Of each release that got the fix of ClickHouse#112149, the first build with it. Later releases have it. */
const FIRST: readonly (readonly [major: number, minor: number, patch: number, build: number])[] = [
  [26, 3, 33, 61],
  [26, 6, 5, 114],
  [26, 7, 7, 87],
  [26, 8, 3, 98],
];

/** Whether a version of ClickHouse has the fix of ClickHouse#112149. @param version as version() says it */
export function hasFix(version: string): boolean {
  const [major = 0, minor = 0, patch = 0, build = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const own = FIRST.find((first) => first[0] === major && first[1] === minor);
  if (own !== undefined) return patch > own[2] || (patch === own[2] && build >= own[3]);
  const [newestMajor, newestMinor] = FIRST.at(-1)!;
  return major > newestMajor || (major === newestMajor && minor > newestMinor);
}
