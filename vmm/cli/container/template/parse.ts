import { position, type Token, templateError, tokenize } from './tokens.ts';

/** A value in a template. */
export type Operand =
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  /** Fields of the dot (`base` undefined), of a variable, or of a parenthesized expression. */
  | { readonly kind: 'path'; readonly base: Operand | undefined; readonly fields: readonly Field[] }
  | { readonly kind: 'variable'; readonly name: string }
  /** A method with arguments, such as `.Label "tier"`. */
  | { readonly kind: 'method'; readonly method: Operand; readonly args: readonly Operand[] }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Operand[] }
  | { readonly kind: 'pipe'; readonly pipeline: Pipeline };

export interface Field {
  readonly name: string;
  /** `line:column` and the text of the whole path, for messages. */
  readonly where: string;
  readonly shown: string;
}

/** Commands, each of which gets the result of the previous one as its last argument. */
export interface Pipeline {
  readonly declares: readonly string[];
  /** `=`, not `:=`: it changes a variable that is there. */
  readonly assigns: boolean;
  readonly commands: readonly Operand[];
}

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'show'; readonly pipeline: Pipeline }
  | {
      readonly kind: 'if' | 'range' | 'with';
      readonly pipeline: Pipeline;
      readonly then: readonly Node[];
      readonly otherwise: readonly Node[];
    };

const KEYWORDS = new Set(['if', 'else', 'end', 'range', 'with']);
const DEPTH_MAX = 100;

/**
 * Parses a template: the part of Go's text/template that Docker's users need.
 * @throws TsvmError `invalid-config`
 */
export function parseTemplate(template: string, functions: ReadonlySet<string>): readonly Node[] {
  return new Parser(template, functions).parse();
}

class Parser {
  readonly #template: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(template: string, functions: ReadonlySet<string>) {
    this.#template = template;
    this.#functions = functions;
    this.#tokens = tokenize(template);
  }

  parse(): readonly Node[] {
    const { nodes, ended } = this.#list();
    if (ended !== '') throw this.#error(`unexpected {{${ended}}}`);
    return nodes;
  }

  /** Up to the end, or to `else` or `end`, which it takes. */
  #list(): { readonly nodes: Node[]; readonly ended: '' | 'else' | 'end' } {
    if (++this.#depth > DEPTH_MAX) throw this.#error('too deeply nested');
    const nodes: Node[] = [];
    for (let token = this.#take(); token !== undefined; token = this.#take()) {
      if (token.kind === 'text') {
        nodes.push({ kind: 'text', text: token.text });
        continue;
      }
      const word = this.#peek()?.kind === 'word' ? this.#peek()?.text : undefined;
      if (word === 'end' || word === 'else') {
        this.#take();
        this.#depth--;
        return { nodes, ended: word };
      }
      if (word === 'if' || word === 'range' || word === 'with') {
        this.#take();
        nodes.push(this.#block(word));
      } else {
        nodes.push({ kind: 'show', pipeline: this.#pipeline('}}') });
      }
    }
    this.#depth--;
    return { nodes, ended: '' };
  }

  #block(kind: 'if' | 'range' | 'with'): Node {
    const pipeline = this.#pipeline('}}');
    const { nodes: then, ended } = this.#list();
    let otherwise: readonly Node[] = [];
    if (ended === 'else') {
      const again = this.#peek();
      if (again?.kind === 'word' && again.text === kind && kind !== 'range') {
        this.#take();
        return { kind, pipeline, then, otherwise: [this.#block(kind)] };
      }
      this.#expect('close');
      const rest = this.#list();
      otherwise = rest.nodes;
      if (rest.ended !== 'end') throw this.#error('unexpected EOF');
    } else if (ended !== 'end') throw this.#error('unexpected EOF');
    this.#expect('close');
    return { kind, pipeline, then, otherwise };
  }

  /** Also consumes the end token. */
  #pipeline(end: '}}' | ')'): Pipeline {
    const { declares, assigns } = this.#declaration();
    const commands: Operand[] = [];
    for (;;) {
      commands.push(this.#command());
      const token = this.#take();
      if (token?.text === end) return { declares, assigns, commands };
      if (token?.text !== '|') throw this.#unexpected(token);
    }
  }

  #declaration(): { readonly declares: string[]; readonly assigns: boolean } {
    const start = this.#next;
    const declares: string[] = [];
    for (let token = this.#take(); token?.kind === 'variable'; token = this.#take()) {
      declares.push(token.text);
      const mark = this.#take();
      if (mark?.text === ':=' || mark?.text === '=') {
        return { declares, assigns: mark.text === '=' };
      }
      if (mark?.text !== ',') break;
    }
    this.#next = start;
    return { declares: [], assigns: false };
  }

  #command(): Operand {
    const token = this.#peek();
    if (token?.kind !== 'word' || isLiteral(token.text)) {
      const operand = this.#operand();
      if (!this.#startsOperand()) return operand;
      if (operand.kind !== 'path') throw this.#error("can't give argument to non-function");
      return { kind: 'method', method: operand, args: this.#arguments() };
    }
    if (KEYWORDS.has(token.text) || !this.#functions.has(token.text)) {
      throw this.#error(`function ${JSON.stringify(token.text)} not defined`);
    }
    this.#take();
    return { kind: 'call', name: token.text, args: this.#arguments() };
  }

  #arguments(): Operand[] {
    const args: Operand[] = [];
    while (this.#startsOperand()) args.push(this.#operand());
    return args;
  }

  #startsOperand(): boolean {
    const token = this.#peek();
    if (token === undefined) return false;
    if (token.kind === 'mark') return token.text === '(' || token.text === '.';
    return token.kind !== 'close' && token.kind !== 'text' && token.kind !== 'open';
  }

  #operand(): Operand {
    const token = this.#take();
    switch (token?.kind) {
      case 'string':
        return { kind: 'literal', value: unquote(token.text) };
      case 'number':
        return { kind: 'literal', value: Number(token.text) };
      case 'field':
        this.#next--;
        return this.#fields(undefined, token.at);
      case 'variable':
        return this.#fields({ kind: 'variable', name: token.text }, token.at);
      case 'word':
        if (isLiteral(token.text)) {
          const value = token.text === 'nil' ? null : token.text === 'true';
          return { kind: 'literal', value };
        }
        if (!this.#functions.has(token.text)) {
          throw this.#error(`function ${JSON.stringify(token.text)} not defined`);
        }
        return { kind: 'call', name: token.text, args: [] };
      case 'mark':
        if (token.text === '.') return { kind: 'path', base: undefined, fields: [] };
        if (token.text === '(') {
          if (++this.#depth > DEPTH_MAX) throw this.#error('too deeply nested');
          const pipeline = this.#pipeline(')');
          this.#depth--;
          return this.#fields({ kind: 'pipe', pipeline }, token.at);
        }
    }
    throw this.#unexpected(token);
  }

  /** `.A.B`, which must follow without a gap. */
  #fields(base: Operand | undefined, start: number): Operand {
    const tokens: Token[] = [];
    let end = this.#tokens[this.#next - 1]?.at ?? start;
    end += this.#tokens[this.#next - 1]?.text.length ?? 0;
    for (;;) {
      const token = this.#peek();
      if (token?.kind !== 'field') break;
      if ((tokens.length > 0 || base !== undefined) && token.at !== end) break;
      tokens.push(token);
      end = token.at + token.text.length;
      this.#take();
    }
    if (tokens.length === 0 && base !== undefined) return base;
    const { line, column } = position(this.#template, start);
    const shown = this.#template.slice(start, end);
    const fields = tokens.map(({ text }) => ({
      name: text.slice(1),
      where: `${line}:${column}`,
      shown,
    }));
    return { kind: 'path', base, fields };
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  #take(): Token | undefined {
    return this.#tokens[this.#next++];
  }

  #expect(kind: Token['kind']): void {
    const token = this.#take();
    if (token?.kind !== kind) throw this.#unexpected(token);
  }

  #unexpected(token: Token | undefined): Error {
    if (token === undefined) return this.#error('unexpected EOF');
    if (token.kind === 'close') return this.#error('missing value for command');
    return this.#error(`unexpected ${JSON.stringify(token.text)} in operand`);
  }

  #error(message: string): Error {
    const at = this.#tokens[Math.min(this.#next, this.#tokens.length - 1)]?.at ?? 0;
    return templateError(`:${position(this.#template, at).line}: ${message}`);
  }
}

function isLiteral(word: string): boolean {
  return word === 'true' || word === 'false' || word === 'nil';
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0' };

function unquote(text: string): string {
  const inner = text.slice(1, -1);
  if (text.startsWith('`')) return inner;
  return inner.replace(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/g, (_, x, u, one) =>
    one === undefined ? String.fromCharCode(Number.parseInt(x ?? u, 16)) : (ESCAPES[one] ?? one),
  );
}
