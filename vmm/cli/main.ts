import { availableParallelism } from 'node:os';
import { Command, CommanderError } from 'commander';
import { TsvmError } from '../errors.ts';
import { bootCommand } from './boot-command.ts';
import { doctorCommand } from './doctor-command.ts';
import { EXIT_OUR_FAILURE, EXIT_USAGE } from './exit-codes.ts';

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

/** Only who works on images loads what that takes. */
async function image(args: readonly string[]): Promise<number> {
  // For libuv, which looks at it when the first piece of work is for its threads: they compress.
  process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));
  const { runImage } = await import('./image/run-image.ts');
  return runImage(args);
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    if (argv[0] === 'image') return await image(argv.slice(1));
    await throwOnExit(program()).parseAsync(argv, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has printed its message; help and version come this way too, with code 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (error instanceof TsvmError) {
      process.stderr.write(`tsvm: ${error.message}\n`);
      return error.code === 'invalid-config' ? EXIT_USAGE : EXIT_OUR_FAILURE;
    }
    process.stderr.write(`tsvm: ${error instanceof Error ? error.stack : String(error)}\n`);
    return EXIT_OUR_FAILURE;
  }
}

main(process.argv.slice(2)).then((code) => process.exit(code));
