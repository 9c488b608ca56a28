/** The program that runs machines: all of tsvm but `tsvm image`, which `image-main.ts` is. */
import { Command } from 'commander';
import { commandLine } from '../util/byte-names.ts';
import { bootCommand } from './boot-command.ts';
import { doctorCommand } from './doctor-command.ts';
import { isTerminal } from './output-descriptor.ts';
import { runToExit } from './run-to-exit.ts';
import { print, printMessage } from './standard-streams.ts';
import { versionText } from './version.ts';

const VERSION_WORDS = ['--version', '-v', '-V', 'version'];

function program(): Command {
  return new Command('tsvm')
    .description('Runs Linux in virtual machines on KVM.')
    .option('-v, --version', 'the version, for reports of faults')
    .addCommand(bootCommand())
    .addCommand(doctorCommand())
    .addCommand(
      new Command('image')
        .description('Makes and works on disk images: raw and qcow2.')
        .addHelpText('after', '\n"tsvm image --help" tells what it does.'),
    )
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
  await adopt(program()).parseAsync(words, { from: 'user' });
  return Number(process.exitCode ?? 0);
});
