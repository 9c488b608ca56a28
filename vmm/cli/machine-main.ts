/** The program that runs machines. It also prints the help of `tsvm`; see `programs.ts`. */
import './output-flags.ts';

import { Command } from 'commander';
import { commandLine } from '../util/byte-names.ts';
import { adoptCommand } from './adopt-command.ts';
import { bootCommand } from './boot-command.ts';
import { verbLines } from './container/verb-list.ts';
import { doctorCommand } from './doctor-command.ts';
import { EXIT_USAGE } from './exit-codes.ts';
import { kernelCommand } from './kernel-command.ts';
import { CONTROL_SUMMARIES, findProgram } from './programs.ts';
import { runToExit } from './run-to-exit.ts';
import { print, printMessage } from './standard-streams.ts';
import { versionText } from './version.ts';

const HELP_WORDS = ['--help', '-h'];
const VERSION_WORDS = ['--version', '-v', '-V', 'version'];

/** Whether a command line's first word is a command, of which there is none. */
function isUnknown(first: string): boolean {
  if (first.startsWith('-') || first === 'help') return false;
  const { commands, name } = findProgram([first]);
  return name === 'machine' && !commands.includes(first);
}

function helpText(): string {
  const controlLines = Object.entries(CONTROL_SUMMARIES)
    .map(([name, summary]) => `  ${name.padEnd(13)}${summary}`)
    .join('\n');
  return `
Running machines:
${controlLines}

Containers and their images, with Docker's options and output:
${verbLines()}

Examples:
  tsvm boot                                       the default guest; Ctrl-A x ends it
  tsvm boot --cpus 2 --memory 1G --disk root.img
  tsvm boot --detach --name web
  tsvm console web
  tsvm image create data.qcow2 100G
  tsvm run -it --rm debian bash
  tsvm run -d --name web -p 8080:80 nginx
  tsvm ps
  tsvm images

"tsvm COMMAND --help" shows details and examples.`;
}

/** @param first the command line's first word: a boot is to start fast, and needs no other command */
function program(first: string | undefined): Command {
  const command = new Command('tsvm')
    .option('-v, --version', 'print version information for bug reports')
    .addCommand(bootCommand());
  if (first === 'boot') return command;
  return command
    .description(
      'Runs Linux and containers in virtual machines on KVM, and manages disk and container images.',
    )
    .addCommand(doctorCommand())
    .addCommand(kernelCommand())
    .addCommand(
      new Command('image').description('Creates and manages disk images and container images.'),
    )
    .addHelpText('after', helpText)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(see tsvm --help)');
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
  if (
    first !== undefined &&
    isUnknown(first) &&
    !command.some((word) => HELP_WORDS.includes(word))
  ) {
    printMessage(
      `tsvm: unknown command: tsvm ${first}\n\nRun 'tsvm --help' for more information\n`,
    );
    return EXIT_USAGE;
  }
  const tsvm = adoptCommand(program(first));
  const [asked] = command;
  // Commander would print the general help without a word about the unknown command.
  const isUnknownTopic =
    first === 'help' && asked !== undefined && !tsvm.commands.some((one) => one.name() === asked);
  await tsvm.parseAsync(isUnknownTopic ? command : words, { from: 'user' });
  return Number(process.exitCode ?? 0);
});
