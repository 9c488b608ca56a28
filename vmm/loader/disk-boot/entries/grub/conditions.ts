/** GRUB's `test` and `[`: "test" of its manual. */

/** What `test` asks about files. */
export interface FileQuestions {
  isFile(path: string): boolean;
  isEmpty(path: string): boolean;
  isDirectory(path: string): boolean;
}

const BINARY: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  '=': (a, b) => a === b,
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '-eq': (a, b) => number(a) === number(b),
  '-ne': (a, b) => number(a) !== number(b),
  '-lt': (a, b) => number(a) < number(b),
  '-le': (a, b) => number(a) <= number(b),
  '-gt': (a, b) => number(a) > number(b),
  '-ge': (a, b) => number(a) >= number(b),
};

function number(text: string): number {
  return Number.parseInt(text, 10) || 0;
}

/** Evaluates the words after `test` or between `[` and `]`. */
export function evaluateTest(words: readonly string[], files: FileQuestions): boolean {
  let at = 0;
  let depth = 0;

  function disjunction(): boolean {
    let value = conjunction();
    while (words[at] === '-o') {
      at++;
      const right = conjunction();
      value = value || right;
    }
    return value;
  }

  function conjunction(): boolean {
    let value = negation();
    while (words[at] === '-a') {
      at++;
      const right = negation();
      value = value && right;
    }
    return value;
  }

  function negation(): boolean {
    let isNegated = false;
    while (words[at] === '!') {
      at++;
      isNegated = !isNegated;
    }
    return primary() !== isNegated;
  }

  function primary(): boolean {
    const first = words[at] ?? '';
    const compare = BINARY[words[at + 1] ?? ''];
    if (compare !== undefined && at + 2 < words.length) {
      at += 3;
      return compare(first, words[at - 1] ?? '');
    }
    const question = at + 1 < words.length ? unary(first, files) : undefined;
    if (question !== undefined) {
      at += 2;
      return question(words[at - 1] ?? '');
    }
    at++;
    if (first !== '(' || depth === 16) return first !== '';
    depth++;
    const value = disjunction();
    depth--;
    if (words[at] === ')') at++;
    return value;
  }

  return disjunction();
}

function unary(word: string, files: FileQuestions): ((value: string) => boolean) | undefined {
  switch (word) {
    case '-n':
      return (value) => value !== '';
    case '-z':
      return (value) => value === '';
    case '-d':
      return (path) => files.isDirectory(path);
    case '-e':
      return (path) => files.isFile(path) || files.isDirectory(path);
    case '-f':
      return (path) => files.isFile(path);
    case '-s':
      return (path) => files.isFile(path) && !files.isEmpty(path);
    default:
      return undefined;
  }
}
