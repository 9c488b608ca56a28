import { type MachineConfig, resolveConfig } from '../machine/config.ts';
import { printable } from '../util/printable.ts';
import { print } from './standard-streams.ts';

/**
 * `--kernel-entry list`: prints the boot entries of the first disk, the default one with a star.
 * @throws TsvmError as `diskBootEntries` does
 */
export async function printKernelEntries(config: MachineConfig): Promise<void> {
  const { diskBootEntries } = await import('../machine/disk-boot-source.ts');
  const entries = await diskBootEntries(resolveConfig(config));
  const rows = entries.map(({ entry, isDefault }) => [
    isDefault ? '*' : ' ',
    printable(entry.id),
    printable(entry.title),
    entry.kernel.place,
  ]);
  const table = [['', 'ENTRY', 'TITLE', 'KERNEL'], ...rows];
  const widths = [0, 1, 2].map((column) =>
    Math.max(...table.map((row) => (row[column] ?? '').length)),
  );
  for (const row of table) {
    print(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}
