/** The kernel on a machine's first disk. */
import { resolve } from 'node:path';
import { diskFormat } from '../backends/disk/image/format.ts';
import type { DiskImage } from '../backends/disk/image/image.ts';
import { readDisk } from '../backends/disk/machine/read-disk.ts';
import { TsvmError } from '../errors.ts';
import { hostFiles } from '../host/host-files.ts';
import { BootBytes } from '../loader/boot-file.ts';
import {
  chooseEntry,
  type ListedEntry,
  listEntries,
  readInitrds,
  readKernel,
} from '../loader/disk-boot/disk-kernel.ts';
import type { DiskFile } from '../loader/disk-boot/entries/boot-entry.ts';
import { type DiskSearch, searchDisk } from '../loader/disk-boot/find-menus.ts';
import type { Logger } from '../observability/logger.ts';
import { printable } from '../util/printable.ts';
import { type BootSource, fileSource } from './boot-source.ts';
import { missingConsole } from './command-line.ts';
import type { ResolvedConfig, ResolvedImageDisk } from './config.ts';

/**
 * Searches the first disk and reads what it boots. The disk is closed again, so that the machine can
 * open it for writing.
 * @throws TsvmError `no-kernel-on-disk`, `invalid-disk`, and as `openDisk` does
 */
export async function diskBootSource(config: ResolvedConfig, logger: Logger): Promise<BootSource> {
  const disk = firstDisk(config);
  const { kernelEntry, rootKernelPath, initrdPath } = config;
  return withImage(disk, (image) => {
    const search = searchDisk(image);
    for (const problem of search.problems) logger.debug(`${disk.path}: ${problem}`);
    const isBareRoot = search.menus.length === 0 && search.mayBeRoot && kernelEntry === undefined;
    if (isBareRoot && rootKernelPath !== undefined) {
      logger.debug(`${disk.path} has no kernel: booting ${rootKernelPath}`);
      return fileSource(config, rootKernelPath);
    }
    const chosen = chooseEntry(search, disk.path, kernelEntry);
    tell(chosen, config, disk.path, logger);
    const { kernel, initrds, commandLine } = chosen.entry;
    const name = (file: DiskFile) => `${disk.path}, ${file.place}`;
    const ownInitrds = readInitrds(initrds).map(
      (bytes, index) => new BootBytes(name(initrds[index] ?? kernel), bytes),
    );
    return {
      kernel: new BootBytes(name(kernel), readKernel(kernel)),
      initrds: initrdPath === undefined ? ownInitrds : [initrdPath],
      entryLine: commandLine,
    };
  });
}

/** The boot entries of a machine's first disk. @throws TsvmError as {@link diskBootSource} */
export async function diskBootEntries(config: ResolvedConfig): Promise<readonly ListedEntry[]> {
  const disk = firstDisk(config);
  const search: DiskSearch = await withImage(disk, searchDisk);
  // For its message when there is none.
  chooseEntry(search, disk.path);
  return listEntries(search);
}

function tell(
  { entry, loader }: ListedEntry,
  config: ResolvedConfig,
  path: string,
  logger: Logger,
): void {
  const added = config.cmdline === undefined && missingConsole(config, entry.commandLine);
  const note = added ? `; its command line has no such console: adding ${added}` : '';
  logger.info(`booting "${printable(entry.title)}" of ${path}, as ${loader} has it${note}`);
}

function firstDisk({ disks }: ResolvedConfig): ResolvedImageDisk {
  const [disk] = disks;
  if (disk !== undefined && !('files' in disk)) return disk;
  throw new TsvmError('invalid-config', 'the machine has no disk to boot from: give it a kernel');
}

async function withImage<T>(disk: ResolvedImageDisk, use: (image: DiskImage) => T): Promise<T> {
  try {
    const format = diskFormat(disk.path, disk.format);
    const { backing } = disk;
    return await readDisk(resolve(disk.path), { format, backing, hostFiles: hostFiles() }, use);
  } catch (error) {
    const isNamed = error instanceof TsvmError && error.message.startsWith(disk.path);
    if (!(error instanceof TsvmError) || error.code !== 'invalid-disk' || isNamed) throw error;
    throw new TsvmError(
      'invalid-disk',
      `the kernel on ${disk.path} cannot be read: ${error.message}; give one with --kernel`,
      { cause: error },
    );
  }
}
