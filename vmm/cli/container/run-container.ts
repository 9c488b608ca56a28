import { Command, CommanderError } from 'commander';
import { TsvmError } from '../../errors.ts';
import { CONTAINER_VERBS, commandWords } from '../programs.ts';
import { print, printMessage } from '../standard-streams.ts';
import { errorText } from './error-text.ts';
import { UsageError, type Verb } from './verb.ts';
import { SUMMARIES, verbLines } from './verb-list.ts';
import type { LoadVerb } from './verbs.ts';

const EXIT_DONE = 0;
const EXIT_FAILED = 1;
/** Docker's exit code for an unknown option. */
const EXIT_BAD_OPTION = 125;
const HELP_COLUMNS = 100;

/** The verbs that a program has. */
export type VerbLoaders = Readonly<Record<string, LoadVerb>>;

/** The verb that a command line is for. */
interface FoundVerb {
  /** `tsvm` and the words that named it. */
  readonly name: string;
  readonly summary: string;
  readonly verb: Verb;
}

/** Runs `tsvm ARGS...`. @returns the exit code */
export async function runContainer(args: readonly string[], loaders: VerbLoaders): Promise<number> {
  const words = commandWords(args);
  const [group, verbName = ''] = words;
  // "container" has the verbs that need no group as well.
  const isPlain = group === 'container' && CONTAINER_VERBS.some((name) => name === verbName);
  const key = isPlain ? verbName : words.join(' ');
  const load = Object.hasOwn(loaders, key) ? loaders[key] : undefined;
  if (load === undefined) return unknownVerb(args);
  const verb = await load();
  const summary = Object.entries(SUMMARIES).find(([name]) => name === key)?.[1] ?? '';
  const found: FoundVerb = { name: `tsvm ${key}`, summary, verb };
  const command = createCommand(found);
  try {
    command.parse(plainFlags(command, args.slice(words.length), verb.optionsFirst === true), {
      from: 'user',
    });
    const given = command.args;
    const problem = argumentsProblem(found, given.length);
    if (problem !== undefined) throw new UsageError(problem);
    return await verb.run(given, command.opts());
  } catch (error) {
    return report(error, found, args);
  }
}

function unknownVerb([group = '', name = '--help']: readonly string[]): number {
  if (name === '--help' || name === '-h') {
    print(`Usage:  tsvm ${group} COMMAND\n\nCommands:\n${verbLines(group)}\n`);
    return EXIT_DONE;
  }
  // Docker's words, which differ.
  const usage = group === 'volume' ? 'volume COMMAND' : group;
  printMessage(
    `tsvm: unknown command: tsvm ${group} ${name}\n\nUsage:  tsvm ${usage}\n\nRun 'tsvm ${group} --help' for more information\n`,
  );
  return EXIT_FAILED;
}

function createCommand({ name, summary, verb }: FoundVerb): Command {
  const [, ...usage] = verb.usage.split(' ');
  const command = new Command(name)
    .usage(usage.join(' '))
    .description(summary)
    .argument('[arguments...]')
    .addHelpText('after', `\n${verb.help.trim()}`)
    .configureHelp({ visibleArguments: () => [] })
    .configureOutput({ writeOut: print, writeErr: () => {}, getOutHelpWidth: () => HELP_COLUMNS })
    .exitOverride();
  // Docker's -h is the host name there.
  if (verb.optionsFirst === true) command.passThroughOptions().helpOption('--help');
  return verb.addOptions(command);
}

/** Docker also accepts `--quiet=true` and `-q=true`; a flag that is set to false is removed, or negated. */
function plainFlags(command: Command, args: readonly string[], optionsFirst: boolean): string[] {
  const plain: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (word === '--' || (optionsFirst && !/^-./.test(word))) return [...plain, ...args.slice(at)];
    plain.push(...plainFlag(command, word));
    if (!takesNext(command, word)) continue;
    at++;
    plain.push(...args.slice(at, at + 1));
  }
  return plain;
}

/** Whether the next word is the value of an option of this one. */
function takesNext({ options }: Command, word: string): boolean {
  if (word.startsWith('--')) return options.some(({ long, required }) => required && long === word);
  if (!/^-\w/.test(word)) return false;
  for (let at = 1; at < word.length; at++) {
    const option = options.find(({ short }) => short === `-${word[at]}`);
    if (option?.required === true) return at === word.length - 1;
  }
  return false;
}

function plainFlag(command: Command, word: string): string[] {
  // -it=true: the value is the last one's.
  const [, before, last] = /^-(\w+)(\w=.*)$/s.exec(word) ?? [];
  const isFlag = (letter: string) =>
    command.options.some(({ required, short }) => short === `-${letter}` && !required);
  if (before !== undefined && [...before].every(isFlag)) {
    return [`-${before}`, ...plainFlag(command, `-${last}`)];
  }
  const [, name, value = ''] = /^(--?[\w-]+)=(.*)$/s.exec(word) ?? [];
  if (name === undefined) return [word];
  const option = command.options.find(({ long, short }) => name === long || name === short);
  if (option === undefined || option.required || option.optional) return [word];
  if (/^(?:1|t|true)$/i.test(value)) return [name];
  const negated = `--no-${option.long?.slice(2)}`;
  if (/^(?:0|f|false)$/i.test(value)) {
    return command.options.some(({ long }) => long === negated) ? [negated] : [];
  }
  const names = [option.short, option.long].filter((one) => one !== undefined).join(', ');
  throw new UsageError(
    `invalid argument "${value}" for "${names}" flag: strconv.ParseBool: parsing "${value}": invalid syntax`,
    EXIT_BAD_OPTION,
  );
}

function argumentsProblem({ name: words, verb }: FoundVerb, count: number): string | undefined {
  const { argumentsMin: min, argumentsMax: max } = verb;
  if (count >= min && count <= max) return undefined;
  const name = `'${words}'`;
  const plural = (number: number) => `${number} ${number === 1 ? 'argument' : 'arguments'}`;
  if (max === 0) return `tsvm: ${name} accepts no arguments`;
  if (min === max) return `tsvm: ${name} requires ${plural(min)}`;
  if (max === Number.POSITIVE_INFINITY) return `tsvm: ${name} requires at least ${plural(min)}`;
  if (min === 0) return `tsvm: ${name} requires at most ${plural(max)}`;
  return `tsvm: ${name} requires at least ${min} and at most ${plural(max)}`;
}

function report(error: unknown, { name, verb }: FoundVerb, args: readonly string[]): number {
  const [, ...usage] = verb.usage.split(' ');
  const advice = (word: string) =>
    `\n\nUsage:  ${name} ${usage.join(' ')}\n\n${word} '${name} --help' for more information\n`;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT_DONE;
    printMessage(optionProblem(error, args) + advice('Run'));
    return EXIT_BAD_OPTION;
  }
  if (error instanceof UsageError) {
    // Docker's words, which differ.
    printMessage(
      error.message + advice(/ at least \d+ arguments?$/.test(error.message) ? 'See' : 'Run'),
    );
    return error.exitCode;
  }
  if (!(error instanceof TsvmError)) {
    // What the host answers to a system call; anything else is a fault of the program.
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    printMessage(`tsvm: ${error.message}\n`);
    return EXIT_FAILED;
  }
  printMessage(`${errorText(error)}\n`);
  return EXIT_FAILED;
}

/** Docker's message about an option. */
function optionProblem({ code, message }: CommanderError, args: readonly string[]): string {
  const flags = /'([^']*)'/.exec(message)?.[1] ?? '';
  if (code === 'commander.unknownOption') {
    if (flags.startsWith('--')) return `unknown flag: ${flags.split('=')[0]}`;
    return `unknown shorthand flag: '${flags[1]}' in ${flags}`;
  }
  if (code === 'commander.optionMissingArgument') {
    // What lacks its argument is the last word.
    const word = args.at(-1) ?? flags;
    if (word.startsWith('--')) return `flag needs an argument: ${word}`;
    return `flag needs an argument: '${word.at(-1)}' in ${word}`;
  }
  return message.replace(/^error: /, '');
}
