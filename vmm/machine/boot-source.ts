import type { BootImage } from '../loader/boot-file.ts';
import type { ResolvedConfig } from './config.ts';

/** What to load: files of the host, or what was read from the first disk. */
export interface BootSource {
  readonly kernel: string | BootImage;
  readonly initrds: readonly (string | BootImage)[];
  /** The command line of the disk's boot entry. */
  readonly entryLine: string | undefined;
}

/** A kernel in a file of the host. */
export function fileSource(
  { modulesPath, initrdPath }: ResolvedConfig,
  kernelPath: string,
): BootSource {
  const initrds = [modulesPath, initrdPath].filter((path) => path !== undefined);
  return { kernel: kernelPath, initrds, entryLine: undefined };
}
