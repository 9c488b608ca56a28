/** Runs GRUB's configuration as GRUB does, without a screen: "Shell-like scripting" of its manual. */
import type { MenuItem } from './menu.ts';
import { type GrubCommand, parseScript, type Script } from './parser.ts';
import { expandWords } from './words.ts';

/** A command: gets its arguments, returns whether it succeeded. */
export type GrubBuiltin = (args: readonly string[], scope: Interpreter) => boolean;

/** What is left to do of one configuration, whatever it contains. */
export interface Effort {
  commands: number;
}

const COMMANDS_MAX = 50_000;
const DEPTH_MAX = 32;

export function newEffort(): Effort {
  return { commands: COMMANDS_MAX };
}

/** What `linux` and `initrd` have loaded. */
export interface LoadedBoot {
  readonly kernel: readonly string[];
  readonly initrds: readonly string[];
}

/** A `menuentry` or `submenu` that was met. */
export interface MenuBlock {
  readonly kind: 'menuentry' | 'submenu';
  readonly title: string;
  readonly id: string;
  /** `$1` and so on in the block. */
  readonly args: readonly string[];
  readonly body: Script;
}

/** Variables, functions and the menu of one run. */
export class Interpreter {
  readonly variables: Map<string, string>;
  readonly menu: (MenuBlock | MenuItem)[] = [];
  loaded: LoadedBoot | undefined;
  readonly #functions: Map<string, Script>;
  readonly #builtins: ReadonlyMap<string, GrubBuiltin>;
  readonly #effort: Effort;
  #args: readonly string[] = [];
  #depth = 0;
  #status = true;

  constructor(
    builtins: ReadonlyMap<string, GrubBuiltin>,
    effort: Effort,
    outer?: Interpreter,
    args: readonly string[] = [],
  ) {
    this.#builtins = builtins;
    this.#effort = effort;
    this.#args = args;
    this.variables = new Map(outer?.variables);
    this.#functions = new Map(outer === undefined ? [] : outer.#functions);
  }

  /** A separate run with copies of the variables and functions. */
  inner(args: readonly string[]): Interpreter {
    return new Interpreter(this.#builtins, this.#effort, this, args);
  }

  /** Counts work. @throws SyntaxError when it is too much */
  work(commands: number): void {
    this.#effort.commands -= commands;
    if (this.#effort.commands < 0) {
      throw new SyntaxError(`it takes more than ${COMMANDS_MAX} commands`);
    }
  }

  valueOf(name: string): string {
    return this.variables.get(name) ?? '';
  }

  /**
   * Runs the text of a script.
   * @throws SyntaxError when it is malformed, nests too deep or takes too long
   */
  runText(text: string): boolean {
    return this.run(parseScript(text));
  }

  run(script: Script): boolean {
    if (++this.#depth > DEPTH_MAX) throw new SyntaxError(`it nests deeper than ${DEPTH_MAX}`);
    for (const command of script) this.#status = this.#execute(command);
    this.#depth--;
    return this.#status;
  }

  #expand(words: Parameters<typeof expandWords>[0]): string[] {
    return expandWords(words, (name) => {
      if (name === '?') return this.#status ? '0' : '1';
      if (name === '#') return String(this.#args.length);
      if (name === '*' || name === '@') return this.#args.join(' ');
      return /^\d+$/.test(name) ? (this.#args[Number(name) - 1] ?? '') : this.valueOf(name);
    });
  }

  #execute(command: GrubCommand): boolean {
    this.work(1);
    switch (command.kind) {
      case 'simple': {
        const [name = '', ...args] = this.#expand(command.words);
        if (command.block !== undefined) return this.#addBlock(name, args, command.block);
        return this.#call(name, args);
      }
      case 'if': {
        const branch = command.branches.find(({ condition }) => this.run(condition));
        return this.run(branch?.body ?? command.otherwise);
      }
      case 'for':
        for (const value of this.#expand(command.words)) {
          this.variables.set(command.variable, value);
          this.work(1);
          this.run(command.body);
        }
        return this.#status;
      case 'while':
        while (this.run(command.condition) !== command.isUntil) {
          this.work(1);
          this.run(command.body);
        }
        return true;
      case 'function':
        this.#functions.set(command.name, command.body);
        return true;
    }
  }

  #call(name: string, args: readonly string[]): boolean {
    const body = this.#functions.get(name);
    if (body !== undefined) {
      const outer = this.#args;
      this.#args = args;
      const status = this.run(body);
      this.#args = outer;
      return status;
    }
    const assignment = /^(\w+)=/.exec(name);
    if (assignment !== null && args.length === 0) {
      this.variables.set(assignment[1] ?? '', name.slice(assignment[0].length));
      return true;
    }
    if (name === '') return true;
    return this.#builtins.get(name)?.(args, this) ?? false;
  }

  #addBlock(kind: string, args: readonly string[], body: Script): boolean {
    const titles: string[] = [];
    let id: string | undefined;
    for (let index = 0; index < args.length; index++) {
      const word = args[index] ?? '';
      if (/^--(class|users|hotkey|source|id)$/.test(word)) {
        index++;
        if (word === '--id') id = args[index];
      } else if (word.startsWith('--id=')) id = word.slice('--id='.length);
      else if (!word.startsWith('--')) titles.push(word);
    }
    const [title = '', ...others] = titles;
    this.menu.push({
      kind: kind === 'submenu' ? 'submenu' : 'menuentry',
      title,
      id: id ?? title,
      args: others,
      body,
    });
    return true;
  }
}
