/** The program that runs machines. It also prints the help of `tsvm`; see `programs.ts`. */
import { Command, type Option } from 'commander';
import { commandLine } from '../util/byte-names.ts';
import { bootCommand } from './boot-command.ts';
import { verbLines } from './container/verb-list.ts';
import { doctorCommand } from './doctor-command.ts';
import { isTerminal } from './output-descriptor.ts';
import { findProgram } from './programs.ts';
import { runToExit } from './run-to-exit.ts';
import { print, printMessage } from './standard-streams.ts';
import { versionText } from './version.ts';

const VERSION_WORDS = ['--version', '-v', '-V', 'version'];

const EXAMPLES = `
Container images, with Docker's options and output:
${verbLines()}

Examples:
  tsvm boot                                       the default guest; Ctrl-A x ends it
  tsvm boot --cpus 2 --memory 1G --disk root.img
  tsvm image create data.qcow2 100G
  tsvm pull busybox
  tsvm images
  tsvm save -o busybox.tar busybox

"tsvm COMMAND --help" shows details and examples.`;

function program(): Command {
  return new Command('tsvm')
    .description(
      'Runs Linux in virtual machines on KVM, and manages disk images and container images.',
    )
    .option('-v, --version', 'print version information for bug reports')
    .addCommand(bootCommand())
    .addCommand(doctorCommand())
    .addCommand(
      new Command('image').description('Creates and manages disk images and container images.'),
    )
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(see tsvm --help)');
}

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
function adopt(command: Command): Command {
  command.configureHelp({ ...command.configureHelp(), optionDescription });
  command.exitOverride().configureOutput({
    writeOut: print,
    writeErr: printMessage,
    getOutHelpWidth: () => columns(1, () => process.stdout),
    getErrHelpWidth: () => columns(2, () => process.stderr),
  });
  for (const sub of command.commands) adopt(sub);
  return command;
}

runToExit(async () => {
  const words = commandLine().slice(2);
  if (words.length === 1 && VERSION_WORDS.includes(words[0] ?? '')) {
    print(`${versionText()}\n`);
    return 0;
  }
  const [first, ...command] = words;
  if (first === 'help' && findProgram(command).name !== 'machine') {
    print(`See "tsvm ${command.join(' ')} --help".\n`);
    return 0;
  }
  await adopt(program()).parseAsync(words, { from: 'user' });
  return Number(process.exitCode ?? 0);
});
