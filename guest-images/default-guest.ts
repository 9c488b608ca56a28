import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The kernel of guests that bring none, as fields of a machine's configuration. */
export interface DefaultKernel {
  /** A bzImage. */
  readonly kernelPath: string;
  /** The drivers of a kernel that Debian built; the tuned kernel has its own built in. */
  readonly modulesPath?: string;
}

/** The files of the default guest. All are read-only; boot a copy of the disk. */
export interface DefaultGuest extends DefaultKernel {
  /** The tuned kernel as an ELF file, without symbols. */
  readonly vmlinuxPath?: string;
  /** A raw ext4 image with busybox. */
  readonly rootDiskPath: string;
  /** An initrd whose first program is the agent that runs containers. */
  readonly agentInitrdPath: string;
}

/**
 * The file in which set-up records the paths of the default guest: `dist/default-guest.json`. This
 * module's folder and `dist/`, with the bundled CLI, are both in the package root, so the same
 * relative path works for source and bundle.
 */
export function defaultGuestPointerPath(): string {
  return join(import.meta.dirname, '../dist/default-guest.json');
}

/**
 * The default guest built by `scripts/setup.sh`; undefined if it was not built or its cache was
 * deleted. Costs one small read and three stats.
 */
export function locateDefaultGuest(): DefaultGuest | undefined {
  let pointer: unknown;
  try {
    pointer = JSON.parse(readFileSync(defaultGuestPointerPath(), 'utf8'));
  } catch {
    return undefined;
  }
  return isDefaultGuest(pointer) && Object.values(pointer).every(existsSync) ? pointer : undefined;
}

function isDefaultGuest(value: unknown): value is DefaultGuest {
  if (typeof value !== 'object' || value === null) return false;
  const paths: Readonly<Record<string, unknown>> = { ...value };
  const required = ['kernelPath', 'rootDiskPath', 'agentInitrdPath'];
  return (
    required.every((key) => paths[key] !== undefined) &&
    Object.values(paths).every((path) => typeof path === 'string')
  );
}
