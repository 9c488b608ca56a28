import type { Command, Option } from 'commander';
import { isTerminal } from './output-descriptor.ts';
import { print, printMessage } from './standard-streams.ts';

/** Terminal width of a descriptor in columns; 80 if it is not a terminal. */
function columns(fd: number, stream: () => NodeJS.WriteStream): number {
  return (isTerminal(fd) ? stream().columns : undefined) ?? 80;
}

/** The help text of an option, with its default as one enters it; lists are empty by default. */
function optionDescription({ description, defaultValue, defaultValueDescription }: Option): string {
  const isPlain = typeof defaultValue === 'string' || typeof defaultValue === 'number';
  const text = defaultValueDescription ?? (isPlain ? `${defaultValue}` : undefined);
  return text === undefined ? description : `${description} (default: ${text})`;
}

/** Makes a command and its subcommands throw instead of exiting, and use tsvm's output functions. */
export function adoptCommand(command: Command): Command {
  command.configureHelp({ ...command.configureHelp(), optionDescription });
  command.exitOverride().configureOutput({
    writeOut: print,
    writeErr: printMessage,
    getOutHelpWidth: () => columns(1, () => process.stdout),
    getErrHelpWidth: () => columns(2, () => process.stderr),
  });
  for (const sub of command.commands) adoptCommand(sub);
  return command;
}
