import type { DiskFormat } from '../backends/disk/image/format.ts';
import { TsvmError } from '../errors.ts';
import type { Engine } from './kernel-mode.ts';

/** How a disk image is attached. */
export interface ImageDiskConfig {
  readonly path: string;
  readonly readOnly: boolean;
  /** Told by the user; otherwise taken from the file's name, never from its content. */
  readonly format: DiskFormat | undefined;
  /** Writes go to a nameless temporary file; the named file stays as it is. */
  readonly overlay: boolean;
  /** Backing images of an image: in its folder or below it only, or anywhere. */
  readonly backing: 'same-folder' | 'allow';
}

/** Files that are one read-only disk, each starting at a sector of its own; see `JoinedFilesDisk`. */
export interface JoinedDiskConfig {
  readonly files: readonly string[];
}

export type DiskConfig = ImageDiskConfig | JoinedDiskConfig;

/** A machine as its user describes it; {@link validateConfig} checks it. */
export interface MachineConfig {
  readonly kernelPath: string;
  readonly initrdPath: string | undefined;
  readonly disks: readonly DiskConfig[];
  /** Replaces the command line that would be composed. */
  readonly cmdline: string | undefined;
  /** Goes behind the composed command line. */
  readonly appendCmdline: string | undefined;
  /** Number of vCPUs, 1 to 32. */
  readonly cpus: number;
  /** Guest memory in bytes, whole MiB. */
  readonly memoryBytes: number;
  /** How the guest learns its hardware: ACPI tables, or an MP table and the command line. */
  readonly acpi: boolean;
  /** CPU features to hide, as /proc/cpuinfo names them. */
  readonly cpuMask: readonly string[];
  readonly devicePath: string;
  /** What executes guest kernel code where there is no hardware virtualization. */
  readonly engine: Engine;
}

export const CPUS_MAX = 32;
const MIB = 2 ** 20;
export const MEMORY_MIN_MIB = 16;
/** Guest addresses stay well below what every x86-64 CPU can address. */
export const MEMORY_MAX_MIB = 2 ** 20;

function invalid(message: string): never {
  throw new TsvmError('invalid-config', message);
}

/** @throws TsvmError `invalid-config` that names the setting, what it is and what it may be */
export function validateConfig(config: MachineConfig): void {
  const { cpus, memoryBytes, cmdline, appendCmdline, disks } = config;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > CPUS_MAX) {
    invalid(`${cpus} vCPUs: give a number from 1 to ${CPUS_MAX}`);
  }
  const memoryMib = memoryBytes / MIB;
  if (!Number.isInteger(memoryMib) || memoryMib < MEMORY_MIN_MIB || memoryMib > MEMORY_MAX_MIB) {
    invalid(
      `${memoryMib} MiB of memory: give a whole number of MiB from ${MEMORY_MIN_MIB} to ${MEMORY_MAX_MIB}`,
    );
  }
  if (cmdline !== undefined && appendCmdline !== undefined) {
    invalid('a whole command line and one to append contradict each other: give one of them');
  }
  const paths = new Set<string>();
  for (const disk of disks) {
    if ('files' in disk) {
      if (disk.files.length === 0) invalid('a disk of several files has none');
      continue;
    }
    const { path, readOnly, overlay } = disk;
    if (readOnly && overlay) {
      invalid(`the disk ${path} is read-only: it needs no overlay for writes; say one of the two`);
    }
    if (paths.has(path)) invalid(`the disk ${path} is given twice`);
    paths.add(path);
  }
}
