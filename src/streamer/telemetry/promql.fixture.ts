/** What a query of Prometheus asks for, to be compared with what there is. For tests. */

export interface Matcher {
  readonly label: string;
  readonly operator: '=' | '!=' | '=~' | '!~';
  readonly value: string;
}

export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
}

export interface Query {
  readonly selectors: readonly Selector[];
  /** Labels by which is grouped or matched. */
  readonly labels: readonly string[];
}

interface Token {
  readonly kind: 'string' | 'duration' | 'number' | 'name' | 'operator';
  readonly text: string;
}

const TOKEN =
  /(?<space>\s+|#[^\n]*)|(?<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)|(?<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])|(?<number>0x[\da-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?!\w)|(?<name>[a-z_][\w:]*)|(?<operator>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}[\],:@])/giy;

const AGGREGATIONS = words('sum min max avg count group stddev stdvar topk bottomk quantile count_values');
const FUNCTIONS = words(
  'abs absent absent_over_time avg_over_time ceil changes clamp clamp_max clamp_min count_over_time delta deriv floor histogram_quantile increase irate label_replace last_over_time max_over_time min_over_time present_over_time quantile_over_time rate resets round scalar sort sort_desc sum_over_time time timestamp vector',
);
const LABEL_LISTS = words('by without on ignoring group_left group_right');
const OPERATORS = words('and or unless atan2 bool offset');
const NUMBERS = words('inf nan');

/**
 * Reads a query far enough to know every metric in it with its matchers, and every label of a grouping. Throws what is no token,
 * no known function, or does not close.
 */
export function readQuery(text: string): Query {
  return new Reader(tokens(text)).read();
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const groups = TOKEN.exec(text)?.groups;
    if (groups === undefined) throw new Error(`no token of PromQL at "${text.slice(at)}"`);
    const [kind, token] = Object.entries(groups).find(([, value]) => value !== undefined)!;
    if (kind !== 'space') found.push({ kind: kind as Token['kind'], text: token });
  }
  return found;
}

class Reader {
  readonly #tokens: readonly Token[];
  #at = 0;
  readonly #selectors: Selector[] = [];
  readonly #labels: string[] = [];

  constructor(all: readonly Token[]) {
    this.#tokens = all;
  }

  read(): Query {
    const open: string[] = [];
    while (this.#at < this.#tokens.length) {
      const token = this.#next();
      if (token.kind === 'name') this.#name(token.text);
      else if (token.text === '[') this.#range();
      else if (token.text === '(') open.push(token.text);
      else if (token.text === ')') {
        if (open.pop() === undefined) throw new Error('a parenthesis closes that is not open');
      } else if ('{}]:='.includes(token.text)) throw new Error(`unexpected "${token.text}"`);
    }
    if (open.length > 0) throw new Error('a parenthesis is not closed');
    return { selectors: this.#selectors, labels: this.#labels };
  }

  #name(name: string): void {
    const lower = name.toLowerCase();
    if (LABEL_LISTS.has(lower)) {
      if (this.#peek() === '(') this.#labelList();
    } else if (AGGREGATIONS.has(lower) && (this.#peek() === '(' || LABEL_LISTS.has(this.#peek().toLowerCase()))) return;
    else if (this.#peek() === '(') {
      if (!FUNCTIONS.has(lower)) throw new Error(`unknown function ${name}`);
    } else if (!OPERATORS.has(lower) && !NUMBERS.has(lower))
      this.#selectors.push({ metric: name, matchers: this.#peek() === '{' ? this.#matchers() : [] });
  }

  #labelList(): void {
    this.#expect('(');
    while (this.#peek() !== ')') {
      this.#labels.push(this.#expectKind('name'));
      if (this.#peek() !== ')') this.#expect(',');
    }
    this.#expect(')');
  }

  #matchers(): Matcher[] {
    const matchers: Matcher[] = [];
    this.#expect('{');
    while (this.#peek() !== '}') {
      const label = this.#expectKind('name');
      const operator = this.#expectKind('operator');
      if (!isMatching(operator)) throw new Error(`"${operator}" matches no label`);
      matchers.push({ label, operator, value: this.#expectKind('string').slice(1, -1) });
      if (this.#peek() !== '}') this.#expect(',');
    }
    this.#expect('}');
    return matchers;
  }

  /** `[5m]`, or of a subquery `[1h:5m]` and `[1h:]`. */
  #range(): void {
    this.#expectKind('duration');
    if (this.#peek() === ':') {
      this.#expect(':');
      if (this.#peek() !== ']') this.#expectKind('duration');
    }
    this.#expect(']');
  }

  #peek(): string {
    return this.#tokens[this.#at]?.text ?? '';
  }

  #next(): Token {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new Error('the query ends early');
    return token;
  }

  #expect(text: string): void {
    const token = this.#next();
    if (token.text !== text) throw new Error(`"${token.text}" where "${text}" is expected`);
  }

  #expectKind(kind: Token['kind']): string {
    const token = this.#next();
    if (token.kind !== kind) throw new Error(`"${token.text}" is no ${kind}`);
    return token.text;
  }
}

function isMatching(operator: string): operator is Matcher['operator'] {
  return ['=', '!=', '=~', '!~'].includes(operator);
}

function words(list: string): ReadonlySet<string> {
  return new Set(list.split(' '));
}
