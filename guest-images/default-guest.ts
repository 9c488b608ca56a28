import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The files of the guest that boots when the user names none. All are read-only; boot a copy. */
export interface DefaultGuest {
  /** The kernel as a bzImage. */
  readonly kernelPath: string;
  /** The same kernel as an ELF file, without symbols. */
  readonly vmlinuxPath: string;
  /** A raw ext4 image with busybox. */
  readonly rootDiskPath: string;
}

/**
 * Where set-up notes down the paths of the default guest: `dist/default-guest.json` in the package.
 * This module's folder and `dist/`, where the bundled CLI lives, are both children of the package's
 * root, so one relative path is right for source and bundle alike.
 */
export function defaultGuestPointerPath(): string {
  return join(import.meta.dirname, '../dist/default-guest.json');
}

/**
 * The default guest that set-up built, or undefined when there is none (never built, or its cache
 * was deleted); `scripts/setup.sh` makes one. Costs one small read and three stats.
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
  const keys = ['kernelPath', 'vmlinuxPath', 'rootDiskPath'] as const;
  return (
    typeof value === 'object' &&
    value !== null &&
    keys.every((key) => typeof (value as Record<string, unknown>)[key] === 'string')
  );
}
