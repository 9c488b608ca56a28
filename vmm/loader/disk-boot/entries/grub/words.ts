import type { Word } from './parser.ts';

/** Doubling a variable in a loop must not take all memory. */
const EXPANSION_LENGTH_MAX = 64 * 1024;

/**
 * Replaces variables in a line of text.
 * @throws SyntaxError when the result is too long
 */
export function expandVariables(line: string, lookUp: (variable: string) => string): string {
  let length = line.length;
  return line.replace(/\$\{?(\w+)\}?/g, (_, name: string) => {
    const value = lookUp(name);
    length += value.length;
    if (length > EXPANSION_LENGTH_MAX) throw new SyntaxError('a line is too long');
    return value;
  });
}

/**
 * Expands the words of a command. Values of variables outside quotes are split at blanks, and are no
 * word when empty.
 * @throws SyntaxError when the result is too long
 */
export function expandWords(
  words: readonly Word[],
  lookUp: (variable: string) => string,
): string[] {
  const expanded: string[] = [];
  let length = 0;
  for (const word of words) {
    let current: string | undefined;
    for (const { kind, value, isQuoted } of word) {
      const text = kind === 'variable' ? lookUp(value) : value;
      length += text.length;
      if (length > EXPANSION_LENGTH_MAX) throw new SyntaxError('a command is too long');
      if (kind === 'text' || isQuoted) {
        current = (current ?? '') + text;
        continue;
      }
      const [first = '', ...others] = text.split(/[ \t\n]+/);
      if (text !== '') current = (current ?? '') + first;
      for (const other of others) {
        if (current !== undefined && current !== '') expanded.push(current);
        current = other === '' ? undefined : other;
      }
    }
    if (current !== undefined) expanded.push(current);
  }
  return expanded;
}
