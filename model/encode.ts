const bytes = Buffer.alloc(1 << 16);

/** One byte a leaf, mostly. The order of fields is that of their making: make objects of one kind alike. */
export function encode(value: unknown): string {
  return bytes.toString('latin1', 0, put(value, 0));
}

function put(value: unknown, start: number): number {
  let at = start;
  if (value === undefined) bytes[at++] = 0;
  else if (typeof value === 'boolean') bytes[at++] = value ? 2 : 1;
  else if (typeof value === 'number') {
    if (value < 240) bytes[at++] = value + 4;
    else at = bytes.writeUInt16BE(value, bytes.writeUInt8(255, at));
  } else if (typeof value === 'string') {
    at += bytes.write(value, at, 'latin1');
    bytes[at++] = 0;
  } else if (Array.isArray(value)) {
    bytes[at++] = value.length;
    for (const item of value) at = put(item, at);
  } else {
    bytes[at++] = 3;
    for (const name in value as object) at = put((value as Record<string, unknown>)[name], at);
  }
  return at;
}
