/** A text as a literal of ClickHouse's SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;
}
