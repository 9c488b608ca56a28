/** Parses GRUB's script language into commands. */
import { type Token, tokenize, type WordPart } from './tokens.ts';

export type Word = readonly WordPart[];

export type GrubCommand =
  /** `block` is the body of a `menuentry` or `submenu`. */
  | { readonly kind: 'simple'; readonly words: readonly Word[]; readonly block?: Script }
  | {
      readonly kind: 'if';
      readonly branches: readonly { readonly condition: Script; readonly body: Script }[];
      readonly otherwise: Script;
    }
  | {
      readonly kind: 'for';
      readonly variable: string;
      readonly words: readonly Word[];
      readonly body: Script;
    }
  | {
      readonly kind: 'while';
      readonly isUntil: boolean;
      readonly condition: Script;
      readonly body: Script;
    }
  | { readonly kind: 'function'; readonly name: string; readonly body: Script };
export type Script = readonly GrubCommand[];

const DEPTH_MAX = 64;
const BLOCK_COMMANDS = ['menuentry', 'submenu'];

/** @throws SyntaxError */
export function parseScript(text: string): Script {
  const parser = new Parser(tokenize(text));
  const script = parser.script([]);
  parser.finish();
  return script;
}

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  finish(): void {
    if (this.#at < this.#tokens.length) throw new SyntaxError('a block ends that does not begin');
  }

  /** Commands up to one of the reserved words, which stays. */
  script(ends: readonly string[]): Script {
    if (++this.#depth > DEPTH_MAX) throw new SyntaxError(`blocks nest deeper than ${DEPTH_MAX}`);
    const commands: GrubCommand[] = [];
    for (;;) {
      while (this.#tokens[this.#at]?.kind === 'end') this.#at++;
      const word = this.#reserved();
      if (this.#at === this.#tokens.length || word === '}' || ends.includes(word ?? '')) break;
      commands.push(this.#command(word));
    }
    this.#depth--;
    return commands;
  }

  /** The next token if it is a bare word, which may be reserved. */
  #reserved(): string | undefined {
    const token = this.#tokens[this.#at];
    return token?.kind === 'word' ? bareWord(token.parts) : undefined;
  }

  #expect(word: string): void {
    while (this.#tokens[this.#at]?.kind === 'end') this.#at++;
    if (this.#reserved() !== word) throw new SyntaxError(`"${word}" is missing`);
    this.#at++;
  }

  #command(word: string | undefined): GrubCommand {
    switch (word) {
      case 'if':
        return this.#if();
      case 'for':
        return this.#for();
      case 'while':
      case 'until': {
        this.#at++;
        const condition = this.script(['do']);
        const body = this.#loopBody();
        return { kind: 'while', isUntil: word === 'until', condition, body };
      }
      case 'function': {
        this.#at++;
        const name = this.#reserved() ?? '';
        this.#at++;
        return { kind: 'function', name, body: this.#block() };
      }
      default:
        return this.#simple();
    }
  }

  #if(): GrubCommand {
    const branches: { condition: Script; body: Script }[] = [];
    do {
      this.#at++;
      const condition = this.script(['then']);
      this.#expect('then');
      branches.push({ condition, body: this.script(['elif', 'else', 'fi']) });
    } while (this.#reserved() === 'elif');
    let otherwise: Script = [];
    if (this.#reserved() === 'else') {
      this.#at++;
      otherwise = this.script(['fi']);
    }
    this.#expect('fi');
    return { kind: 'if', branches, otherwise };
  }

  #for(): GrubCommand {
    this.#at++;
    const variable = this.#reserved() ?? '';
    this.#at++;
    this.#expect('in');
    const words = this.#words();
    return { kind: 'for', variable, words, body: this.#loopBody() };
  }

  #loopBody(): Script {
    this.#expect('do');
    const body = this.script(['done']);
    this.#expect('done');
    return body;
  }

  #block(): Script {
    this.#expect('{');
    const body = this.script([]);
    this.#expect('}');
    return body;
  }

  #simple(): GrubCommand {
    const words = this.#words();
    const [first] = words;
    const isBlock = BLOCK_COMMANDS.includes((first && bareWord(first)) ?? '');
    if (!isBlock || this.#reserved() !== '{') return { kind: 'simple', words };
    return { kind: 'simple', words, block: this.#block() };
  }

  /** Words up to the end of the command, or up to "{". */
  #words(): Word[] {
    const words: Word[] = [];
    for (let token = this.#tokens[this.#at]; token?.kind === 'word'; ) {
      const bare = bareWord(token.parts);
      if (words.length > 0 && (bare === '{' || bare === '}')) break;
      words.push(token.parts);
      token = this.#tokens[++this.#at];
    }
    return words;
  }
}

function bareWord(parts: Word): string | undefined {
  const [part, ...others] = parts;
  const isBare = part?.kind === 'text' && !part.isQuoted && others.length === 0;
  return isBare ? part.value : undefined;
}
