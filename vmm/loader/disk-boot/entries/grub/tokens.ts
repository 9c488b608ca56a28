/** Words and separators of GRUB's script language: "Shell-like scripting" of its manual. */

/** A piece of a word: text, or a variable's name. */
export interface WordPart {
  readonly kind: 'text' | 'variable';
  readonly value: string;
  /** Quoted parts are not split at blanks. */
  readonly isQuoted: boolean;
}

export type Token =
  | { readonly kind: 'word'; readonly parts: readonly WordPart[] }
  /** A line break or a semicolon. */
  | { readonly kind: 'end' };

const VARIABLE = /\$(?:\{(\w+|[@#?*])\}|(\w+|[@#?*]))/y;
const BLANK = /[ \t\r]/;

/** @throws SyntaxError for a quote without an end */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text.charAt(at);
    if (BLANK.test(character) || text.startsWith('\\\n', at)) {
      at += character === '\\' ? 2 : 1;
    } else if (character === '\n' || character === ';') {
      tokens.push({ kind: 'end' });
      at++;
    } else if (character === '#') {
      const end = text.indexOf('\n', at);
      at = end < 0 ? text.length : end;
    } else {
      const { parts, end } = readWord(text, at);
      tokens.push({ kind: 'word', parts });
      at = end;
    }
  }
  return tokens;
}

function readWord(text: string, start: number): { parts: WordPart[]; end: number } {
  const parts: WordPart[] = [];
  let at = start;
  const add = (value: string, isQuoted: boolean) => parts.push({ kind: 'text', value, isQuoted });
  while (at < text.length) {
    const character = text.charAt(at);
    if (BLANK.test(character) || character === '\n' || character === ';') break;
    if (character === "'") {
      const end = text.indexOf("'", at + 1);
      if (end < 0) throw new SyntaxError('a quote without an end');
      add(text.slice(at + 1, end), true);
      at = end + 1;
    } else if (character === '"') {
      at = readDoubleQuoted(text, at + 1, parts);
    } else if (character === '\\') {
      if (text.charAt(at + 1) !== '\n') add(text.charAt(at + 1), true);
      at += 2;
    } else if (character === '$') {
      at = readVariable(text, at, parts, false);
    } else {
      const length = plainLength(text, at, /[ \t\r\n;'"\\$]/g);
      add(text.slice(at, at + length), false);
      at += length;
    }
  }
  return { parts, end: at };
}

function plainLength(text: string, start: number, stops: RegExp): number {
  stops.lastIndex = start;
  return (stops.exec(text)?.index ?? text.length) - start;
}

function readDoubleQuoted(text: string, start: number, parts: WordPart[]): number {
  // An empty string is a word too.
  parts.push({ kind: 'text', value: '', isQuoted: true });
  let at = start;
  while (at < text.length) {
    const character = text.charAt(at);
    if (character === '"') return at + 1;
    if (character === '$') {
      at = readVariable(text, at, parts, true);
    } else if (character === '\\') {
      const next = text.charAt(at + 1);
      const value = '"$\\'.includes(next) ? next : next === '\n' ? '' : `\\${next}`;
      parts.push({ kind: 'text', value, isQuoted: true });
      at += 2;
    } else {
      const length = plainLength(text, at, /["$\\]/g);
      parts.push({ kind: 'text', value: text.slice(at, at + length), isQuoted: true });
      at += length;
    }
  }
  throw new SyntaxError('a quote without an end');
}

function readVariable(text: string, at: number, parts: WordPart[], isQuoted: boolean): number {
  VARIABLE.lastIndex = at;
  const match = VARIABLE.exec(text);
  if (match === null) {
    parts.push({ kind: 'text', value: '$', isQuoted });
    return at + 1;
  }
  parts.push({ kind: 'variable', value: match[1] ?? match[2] ?? '', isQuoted });
  return at + match[0].length;
}
