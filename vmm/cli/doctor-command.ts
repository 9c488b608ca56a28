import { Command } from 'commander';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Checks whether this host can run guests, and says how to fix problems.')
    .option('--kvm <device>', 'KVM device', '/dev/kvm')
    .addHelpText(
      'after',
      `\nExit codes: 0, or ${EXIT_OUR_FAILURE} when this host cannot run guests.\n\nExample:\n  tsvm doctor`,
    )
    .allowExcessArguments(false)
    .action(async (options: { readonly kvm: string }) => {
      const { runDoctor } = await import('./doctor.ts');
      process.exitCode = runDoctor(options.kvm);
    });
}
