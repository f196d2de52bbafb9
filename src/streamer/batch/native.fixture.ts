/** A small reader of ClickHouse's Native format, written from its description and not from the encoder. For tests. */

export type NativeValue = string | bigint | number;

export interface NativeColumn {
  readonly name: string;
  readonly type: string;
  readonly values: NativeValue[];
}

export interface NativeBlock {
  readonly rows: number;
  readonly columns: NativeColumn[];
}

/** Reads values one after the other. Strings are latin1, so that any bytes compare. */
export class NativeReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(parts: Iterable<Buffer>) {
    this.#bytes = Buffer.concat([...parts]);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#bytes.readUInt8(this.#at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  string(): string {
    return this.#take(this.varint()).toString('latin1');
  }

  /** In the reading order of a UUID. */
  uuid(): string {
    const bytes = this.#take(16);
    return Buffer.concat([bytes.subarray(0, 8).toReversed(), bytes.subarray(8).toReversed()]).toString('hex');
  }

  value(type: string): NativeValue {
    switch (type) {
      case 'String':
        return this.string();
      case 'UUID':
        return this.uuid();
      case 'UInt32':
        return this.#take(4).readUInt32LE();
      case 'UInt64':
        return this.#take(8).readBigUInt64LE();
      case 'Decimal(18, 0)':
      case "DateTime64(6, 'UTC')":
        return this.#take(8).readBigInt64LE();
      default:
        throw new Error(`no column type of this project: ${type}`);
    }
  }

  block(): NativeBlock {
    const width = this.varint();
    const rows = this.varint();
    const columns = Array.from({ length: width }, () => {
      const name = this.string();
      const type = this.string();
      return { name, type, values: Array.from({ length: rows }, () => this.value(type)) };
    });
    return { rows, columns };
  }

  #take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw new Error('the block ends too early');
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }
}

/** The one block that the parts are, as rows. */
export function readRows(parts: Iterable<Buffer>): Record<string, NativeValue>[] {
  const reader = new NativeReader(parts);
  const { rows, columns } = reader.block();
  if (!reader.isAtEnd) throw new Error('there is something behind the block');
  return Array.from({ length: rows }, (_, row) =>
    Object.fromEntries(columns.map(({ name, values }) => [name, values[row]!])),
  );
}
