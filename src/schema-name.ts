/** The schema of an outbox that has no other name. What carries its name (publications, slot, roles) is called like it. */
export const DEFAULT_SCHEMA = 'outbox';

/**
 * A name that needs no quotes, behind which `_16_of_16` and `_producer` find room in the 63 bytes of a name, and that is not what the
 * publication of another outbox's share is called.
 */
export const SCHEMA_PATTERN = /^(?!pg_|information_schema$|.*_\d+_of_\d+$)[a-z_][a-z0-9_]{0,53}$/;

export const SCHEMA_FORM =
  '1 to 54 of a-z, 0-9 and _, not beginning with a digit or pg_, nor ending as the slot of a share does';

/** A comment, a name in double quotes, or the word. Literals are read as the rest is: `to_regclass('outbox.event')`. */
const PARTS = /--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w$.-])outbox(?![\w$-])/g;
const WORD = /(?<![\w$.-])outbox(?![\w$-])/g;

/**
 * Statements of this program name the default schema: here they get to name another one. What comes from elsewhere is never taken for
 * the schema as long as it is a placeholder's value, a number, a name in double quotes, or a literal of Postgres' own making (a time, a
 * snapshot). A test sees to it that no text has other literals.
 */
export function inSchema(schema: string, sql: string): string {
  if (schema === DEFAULT_SCHEMA) return sql;
  return sql.replace(PARTS, (part) => {
    if (part.startsWith('"') || part.startsWith('-')) return part;
    return part.startsWith("'") ? part.replace(WORD, schema) : schema;
  });
}

/** In sentences `outbox` is a word like others, too. */
const NAMED =
  /(?<![\w."-])outbox(?=\.(?:event|stream|quarantine|migration|emit)\b)|(?<=\b(?:schema|SCHEMA|PUBLICATION) |publication ")outbox\b/g;

/** The same of a sentence that is constant: the help that an error comes with. */
export function toldOf(schema: string, text: string): string {
  return schema === DEFAULT_SCHEMA ? text : text.replace(NAMED, schema);
}
