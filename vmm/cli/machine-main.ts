/** The program that runs machines: all of tsvm but `tsvm image`, which `image-main.ts` is. */
import { Command } from 'commander';
import { bootCommand } from './boot-command.ts';
import { doctorCommand } from './doctor-command.ts';
import { runToExit } from './run-to-exit.ts';

function program(): Command {
  return new Command('tsvm')
    .description('Runs Linux in virtual machines on KVM.')
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

/** Every command and sub-command throws instead of ending the process. */
function throwOnExit(command: Command): Command {
  command.exitOverride();
  for (const sub of command.commands) throwOnExit(sub);
  return command;
}

runToExit(async () => {
  await throwOnExit(program()).parseAsync(process.argv.slice(2), { from: 'user' });
  return Number(process.exitCode ?? 0);
});
