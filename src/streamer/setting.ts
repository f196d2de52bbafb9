interface Described {
  /** The name in `Config`. */
  readonly key: string;
  /** Who reads it: `streamer` is all commands. Each accepts and ignores what is another's. */
  readonly readBy: 'streamer' | 'console' | 'library';
  readonly meaning: string;
}

/** Always required and always a secret: may come as NAME_FILE, and its value is never printed. */
interface UrlSetting extends Described {
  readonly kind: 'url';
  readonly protocols: readonly string[];
  readonly parameters: boolean;
  /** It must name one; otherwise, and without a user, `default` is meant. */
  readonly database: boolean;
  readonly example: string;
}

/** The path of a file that must be readable. */
interface FileSetting extends Described {
  readonly kind: 'file';
  readonly default: '';
}

interface TextSetting extends Described {
  readonly kind: 'text';
  /** Its value is never printed. */
  readonly isSecret?: boolean;
  readonly default: string;
  readonly pattern: RegExp;
  readonly form: string;
}

/** It may come as NAME_FILE, too, and its value is never printed. */
interface SecretSetting extends Described {
  readonly kind: 'secret';
  readonly default: '';
  readonly pattern: RegExp;
  readonly form: string;
}

interface IntegerSetting extends Described {
  readonly kind: 'integer';
  readonly unit: 'rows' | 'bytes' | 'ms' | 'days' | 'port' | 'spans';
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

interface ChoiceSetting extends Described {
  readonly kind: 'choice';
  readonly choices: readonly string[];
  readonly default: string;
}

export type Setting = UrlSetting | FileSetting | TextSetting | SecretSetting | IntegerSetting | ChoiceSetting;
