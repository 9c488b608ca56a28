/** The program that runs machines; its help is that of all of `tsvm`. The others are in `programs.ts`. */
import { Command } from 'commander';
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
Images of containers, with Docker's options and output:
${verbLines()}

Examples:
  tsvm boot                                       the default guest; Ctrl-A x ends it
  tsvm boot --cpus 2 --memory 1G --disk root.img
  tsvm image create data.qcow2 100G
  tsvm pull busybox
  tsvm images
  tsvm save -o busybox.tar busybox

"tsvm COMMAND --help" tells more, with examples.`;

function program(): Command {
  return new Command('tsvm')
    .description(
      'Runs Linux in virtual machines on KVM, and keeps images of disks and of containers.',
    )
    .option('-v, --version', 'the version, for reports of faults')
    .addCommand(bootCommand())
    .addCommand(doctorCommand())
    .addCommand(
      new Command('image').description(
        'Makes and works on disk images, and on images of containers.',
      ),
    )
    .addHelpText('after', EXAMPLES)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(tsvm --help shows what there is)');
}

/** Columns of the terminal that a descriptor is. */
function columns(fd: number, stream: () => NodeJS.WriteStream): number {
  return (isTerminal(fd) ? stream().columns : undefined) ?? 80;
}

/** Every command and sub-command throws instead of ending the process, and prints as we do. */
function adopt(command: Command): Command {
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
    print(`"tsvm ${command.join(' ')} --help" tells what it does.\n`);
    return 0;
  }
  await adopt(program()).parseAsync(words, { from: 'user' });
  return Number(process.exitCode ?? 0);
});
