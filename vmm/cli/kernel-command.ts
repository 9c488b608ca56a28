import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { TsvmError } from '../errors.ts';
import { packageRoot } from '../util/package-root.ts';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { print } from './standard-streams.ts';

const EXAMPLES = `
Exit codes: 0, or ${EXIT_OUR_FAILURE} when the kernel was not built.

Examples:
  tsvm kernel           # which kernel machines without --kernel run
  tsvm kernel build     # from then on, the tuned one`;

/** Which kernel the default guest has, in a line. */
function describeKernel(): string {
  const guest = locateDefaultGuest();
  if (guest === undefined) return 'none: run "npm run setup"';
  return guest.modulesPath === undefined
    ? `tuned: ${guest.kernelPath}`
    : `prebuilt by Debian: ${guest.kernelPath}, with the modules in ${guest.modulesPath}`;
}

function buildKernel(): void {
  const script = join(packageRoot(), 'scripts/setup.sh');
  if (!existsSync(script)) {
    throw new TsvmError(
      'file-unreadable',
      'this package has no recipe of the kernel: run "tsvm kernel build" in a checkout of tsvm',
    );
  }
  const { status } = spawnSync(script, ['--kernel'], { stdio: 'inherit' });
  if (status !== 0) process.exitCode = EXIT_OUR_FAILURE;
  else print(`${describeKernel()}\n`);
}

export function kernelCommand(): Command {
  return new Command('kernel')
    .description('Shows which kernel machines run that bring none, or builds the tuned one.')
    .addHelpText('after', EXAMPLES)
    .allowExcessArguments(false)
    .action(() => print(`${describeKernel()}\n`))
    .addCommand(
      new Command('build')
        .description(
          'Compiles a kernel with only what machines of tsvm have, which boots several times as ' +
            'fast. Takes 5 to 15 minutes, and needs Debian packages, which root installs by itself.',
        )
        .allowExcessArguments(false)
        .action(buildKernel),
    );
}
