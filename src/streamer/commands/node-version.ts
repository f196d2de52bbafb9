/** What package.json's `engines` asks for. */
const OLDEST = [22, 15] as const;

/** What is wrong with a version of Node.js, such as `20.20.2`; undefined when nothing is. */
export function nodeFault(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return undefined;
  return `this is Node.js ${version}, and ${OLDEST.join('.')} is the oldest that will do`;
}
